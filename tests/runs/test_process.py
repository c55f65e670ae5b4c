import getpass
import os
import signal
import warnings
from typing import Any

import pytest

from deepsal.runs import process


def test_no_rank_of_a_training_reaches_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in process.RANK_VARIABLES:
        monkeypatch.setenv(name, "1")
    before = dict(os.environ)
    with process.job_environment({"CUDA_VISIBLE_DEVICES": "3"}) as variables:
        assert variables == os.environ
        assert variables == {
            **{k: v for k, v in before.items() if k not in process.RANK_VARIABLES},
            "CUDA_VISIBLE_DEVICES": "3",
        }
    assert before == os.environ


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1"}, False),
    ],
)
def test_who_is_the_first_rank(
    variables: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert process.is_first_rank() is first


def test_known_chatter_is_silent_and_a_new_warning_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LEAVING_SIGNALS", ())
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        process.configure_process()
        warnings.warn("The number of training batches (2) is smaller", stacklevel=1)
        warnings.warn("something new", stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["something new"]


def test_a_user_without_an_entry_gets_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", missing)
    monkeypatch.setenv("USER", "")  # restored at the end
    process.configure_process()
    assert getpass.getuser() == str(os.getuid())


@pytest.mark.parametrize(
    ("trainer", "variables", "stay"),
    [
        ({"devices": 1}, {"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, False),
        ({"devices": [3]}, {"RANK": "1", "WORLD_SIZE": "1"}, False),
        ({"devices": 2}, {"LOCAL_RANK": "1"}, False),
        ({"devices": 2}, {"LOCAL_RANK": "1", "WORLD_SIZE": "5"}, False),
        ({"devices": 2}, {"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, True),
        ({"devices": "auto"}, {"LOCAL_RANK": "1"}, True),
        ({"devices": 1, "num_nodes": 2}, {"LOCAL_RANK": "0", "NODE_RANK": "1"}, True),
    ],
)
def test_ranks_of_an_earlier_training_are_forgotten(
    trainer: dict[str, Any],
    variables: dict[str, str],
    stay: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in process.RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    process.forget_stale_ranks(trainer)
    assert {name: os.environ[name] for name in variables if name in os.environ} == (
        variables if stay else {}
    )


def test_any_error_of_objects_is_one_line_with_the_option() -> None:
    class WrapperError(Exception):
        pass

    with (
        pytest.raises(ValueError, match=r"^data: TypeError: no such argument$"),
        process.plain_errors(WrapperError),
    ):
        raise WrapperError("in call\nfull_key: data") from TypeError("no such\nargument")
    with pytest.raises(FileNotFoundError, match="no file"), process.plain_errors(WrapperError):
        raise WrapperError("full_key: data") from FileNotFoundError("no file")


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (FileNotFoundError("no set; set data.dataset.path"), "no set; set tested.dataset.path"),
        (TypeError("no path"), "^tested.dataset: TypeError: no path$"),
    ],
)
def test_an_error_of_the_data_to_test_on_names_its_option(cause: Exception, message: str) -> None:
    class WrapperError(Exception):
        pass

    with (
        pytest.raises((FileNotFoundError, ValueError), match=message),
        process.plain_errors(WrapperError, {"data.test": "tested.dataset"}),
    ):
        raise WrapperError("full_key: data.test") from cause


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = {number: signal.SIG_DFL for number in process.LEAVING_SIGNALS}
    handlers[signal.SIGHUP] = signal.SIG_IGN
    monkeypatch.setattr(signal, "getsignal", handlers.get)
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    with warnings.catch_warnings():
        process.configure_process()
    assert handlers.pop(signal.SIGHUP) is signal.SIG_IGN
    for number, handler in handlers.items():
        with pytest.raises(SystemExit, match=str(128 + number)):
            handler(number, None)  # type: ignore[operator]
