import getpass
import os
import warnings

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


def test_known_chatter_is_silent_and_a_new_warning_is_not() -> None:
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
