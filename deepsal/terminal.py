"""ASCII spellings of signs for terminals and pipes that are not UTF-8."""

import codecs
import io
import sys
import unicodedata

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
