"""Output of command lines: errors of one line, and ASCII where a terminal is not UTF-8."""

import codecs
import io
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

PLAIN_ERRORS = (ValueError, OSError, FloatingPointError, ImportError, MemoryError)
"""Errors that are printed without a traceback: their message is enough."""

ASCII_SPELLINGS = {
    **{"↑": "^", "↓": "v", "→": "->", "±": "+-", "×": "x", "·": ".", "…": "...", "°": " deg"},
    **{"−": "-", "–": "-", "—": "-", "‑": "-", "≥": ">=", "≤": "<=", "≠": "!=", "√": "sqrt"},
    **{"σ": "sigma", "Σ": "sum", "θ": "theta", "λ": "lambda", "μ": "mu", "ρ": "rho", "∞": "inf"},
    **dict.fromkeys("─━═", "-"),
    **dict.fromkeys("│┃║", "|"),
}
"""Signs of this package's messages and tables; other letters lose their accents or become "?"."""


def print_ascii_where_needed() -> None:
    """Let standard output and error spell in ASCII the signs that their encoding lacks.

    Without it, a score table on a Latin-1 or ASCII terminal is a UnicodeEncodeError.
    """
    codecs.register_error("ascii_spelling", _spell_in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ascii_spelling")


def run_command_line(
    app: Callable[..., object],
    arguments: Sequence[str] | None,
    program: str,
    own_options: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run a command of a typer application and return its exit code.

    One of `PLAIN_ERRORS` is printed as one line, and its exit code is 1.

    Args:
        app: the application.
        arguments: the command line after the program's name; None for that of the process.
        program: its name in the help.
        own_options: `{pattern: replacement}` for errors that name options of run.py.
    """
    print_ascii_where_needed()
    try:
        app(arguments, prog_name=program)
    except SystemExit as end:
        return int(end.code or 0)
    except PLAIN_ERRORS as error:
        message = str(error)
        for pattern, replacement in own_options.items():
            message = re.sub(pattern, replacement, message)
        print(message, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def to_ascii(text: str) -> str:
    """Spell a text in ASCII.

    >>> to_ascii("NSS↑ 1.18±.11 – für σ")
    'NSS^ 1.18+-.11 - fur sigma'
    """
    spelled = "".join(ASCII_SPELLINGS.get(sign, sign) for sign in text)
    letters = (sign for sign in unicodedata.normalize("NFKD", spelled))
    kept = "".join(sign for sign in letters if not unicodedata.combining(sign))
    return kept.encode("ascii", "replace").decode("ascii")


def _spell_in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return to_ascii(error.object[error.start : error.end]), error.end
