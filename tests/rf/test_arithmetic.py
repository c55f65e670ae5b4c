from collections.abc import Iterator
from contextlib import suppress

import pytest
import torch
from torch import nn

from deepsal.rf.arithmetic import (
    CUDA_BACKEND,
    CUDNN_BACKEND,
    PRECISION_SWITCHES,
    current_number_format,
    full_precision,
)
from deepsal.rf.hooks import temporary_eval_mode


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    before = state()
    yield
    CUDNN_BACKEND.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    for operator, precision in zip(PRECISION_SWITCHES, before[:-1], strict=True):
        operator.fp32_precision = precision


def state() -> list[str]:
    legacy: object = "unreadable"
    with suppress(RuntimeError):
        legacy = CUDNN_BACKEND.allow_tf32, torch.get_float32_matmul_precision()
    return [*(operator.fp32_precision for operator in PRECISION_SWITCHES), str(legacy)]


@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
@pytest.mark.parametrize("allowed", [True, False])
def test_every_reduced_precision_is_off_inside_and_as_before_after(
    allowed: bool, matmul: str
) -> None:
    CUDNN_BACKEND.allow_tf32 = allowed
    torch.set_float32_matmul_precision(matmul)
    before = state()
    with full_precision("cpu"):
        assert state() == [*["ieee"] * 6, "(False, 'highest')"]
    assert state() == before


def test_settings_that_disagree_are_restored_too() -> None:
    CUDNN_BACKEND.conv.fp32_precision = "ieee"  # rnn stays TF32: the older switch is unreadable
    torch.set_float32_matmul_precision("high")
    CUDA_BACKEND.matmul.fp32_precision = "ieee"
    before = state()
    assert before[-1] == "unreadable"
    with full_precision("cpu"):
        assert state()[:-1] == ["ieee"] * 6
    assert state() == before


def test_an_exception_restores_and_autocast_is_off_inside() -> None:
    before = state()
    square = torch.ones(2, 2)

    def fail() -> None:
        with full_precision("cpu"):
            assert (square @ square).dtype == torch.float32
            raise OSError("on purpose")

    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(OSError, match="on purpose"):
            fail()
        assert (square @ square).dtype == torch.bfloat16
    assert state() == before


def test_a_look_at_a_network_runs_in_full_precision() -> None:
    with temporary_eval_mode(nn.Conv2d(3, 4, 3)):
        assert current_number_format(torch.float32, "cuda").name == "float32"
    assert current_number_format(torch.float32, "cuda").name == "TF32"
    assert (
        current_number_format(torch.float32, "cuda").tolerance
        > current_number_format(torch.float32, "cpu").tolerance
    )
    assert current_number_format(torch.bfloat16, "cpu").name == "bfloat16"
