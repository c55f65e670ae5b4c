import pytest
import torch

from deepsal.precision import fastest


@pytest.mark.parametrize(
    ("accelerator", "cuda", "instructions", "expected"),
    [
        ("auto", True, {}, "bf16-mixed"),
        ("cuda", True, {}, "bf16-mixed"),
        ("cpu", True, {"avx512_bf16": False}, "32-true"),
        ("auto", False, {"avx512_bf16": True}, "bf16-mixed"),
        ("cpu", False, {"amx_bf16": True}, "bf16-mixed"),
        ("auto", False, {"avx2": True}, "32-true"),
        ("mps", False, {"avx512_bf16": True}, "32-true"),
    ],
)
def test_bfloat16_is_for_machines_that_multiply_it(
    accelerator: str,
    cuda: bool,
    instructions: dict[str, bool],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert fastest(accelerator) == expected


def test_an_older_torch_that_cannot_tell_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fastest("cpu") == "32-true"
