import pytest
import torch

from deepsal.precision import fastest


@pytest.mark.parametrize(
    ("accelerator", "gpu", "instructions", "expected"),
    [
        ("auto", "Ampere", {}, "bf16-mixed"),
        ("cuda", "Ampere", {}, "bf16-mixed"),
        ("gpu", "Volta", {"avx512_bf16": True}, "32-true"),
        ("cpu", "Ampere", {"avx512_bf16": False}, "32-true"),
        ("auto", None, {"avx512_bf16": True}, "bf16-mixed"),
        ("cpu", None, {"amx_bf16": True}, "bf16-mixed"),
        ("auto", None, {"avx2": True}, "32-true"),
        ("mps", None, {"avx512_bf16": True}, "32-true"),
    ],
)
def test_bfloat16_is_for_machines_that_multiply_it(
    accelerator: str,
    gpu: str | None,
    instructions: dict[str, bool],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: gpu == "Ampere"
    )
    monkeypatch.setattr(torch.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert fastest(accelerator) == expected


def test_an_older_torch_that_cannot_tell_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fastest("cpu") == "32-true"
