import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepsal.terminal import (
    ASCII_SPELLINGS,
    PLAIN_ERRORS,
    print_ascii_where_needed,
    run_command_line,
    to_ascii,
)
from tests.report.support import write_run
from tests.support import ROOT


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", "NSS↑ .5±.1 ─ 日"),
        ("latin-1", "NSS^ .5±.1 - ?"),
        ("cp1252", "NSS^ .5±.1 - ?"),
        ("ascii", "NSS^ .5+-.1 - ?"),
    ],
)
def test_only_signs_that_an_encoding_lacks_are_spelled(
    encoding: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    print_ascii_where_needed()
    out.write("NSS↑ .5±.1 ─ 日")
    out.flush()
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    assert buffer.getvalue().decode(encoding) == printed


def test_a_stream_that_is_no_text_file_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for other in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stdout", other)
        print_ascii_where_needed()
        assert sys.stdout is other


def test_every_spelling_is_ascii() -> None:
    assert all(spelling.isascii() for spelling in ASCII_SPELLINGS.values())
    assert to_ascii("résumé ½ ²") == "resume 1?2 2"


@pytest.mark.parametrize("kind", PLAIN_ERRORS)
def test_an_error_of_a_command_is_one_line_with_its_own_options(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    def app(arguments: list[str], prog_name: str) -> None:
        raise kind(f"{prog_name}: no {arguments[0]}; set ckpt=FILE, or data=popout")

    own_options = {"ckpt=": "--ckpt ", ", or data=.*": ""}
    assert run_command_line(app, ["a"], "python -m b", own_options) == 1
    assert capsys.readouterr().err == "python -m b: no a; set --ckpt FILE\n"


@pytest.mark.parametrize(("end", "code"), [(None, 0), (SystemExit(2), 2), (SystemExit(), 0)])
def test_the_exit_code_is_that_of_the_command(end: SystemExit | None, code: int) -> None:
    def app(arguments: None, prog_name: str) -> None:
        if end:
            raise end

    assert run_command_line(app, None, "b") == code


def test_an_error_of_the_program_keeps_its_traceback() -> None:
    def app(arguments: None, prog_name: str) -> None:
        raise KeyError("a")

    with pytest.raises(KeyError, match="a"):
        run_command_line(app, None, "b")


@pytest.mark.parametrize("command", ["deepsal.report", "deepsal.data"])
def test_a_command_line_prints_on_a_terminal_that_is_not_utf_8(
    command: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "a", "ein Lauf für σ")
    arguments = {"deepsal.report": ["table", str(run)], "deepsal.data": ["cards"]}[command]
    latin = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", command, *arguments],
        env={**os.environ, **latin},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
