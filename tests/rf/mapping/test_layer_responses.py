import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from deepsal.rf.store import weights_fingerprint
from tests.conftest import backbone
from tests.rf.mapping.support import linear


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_is_read_as_a_float32_copy(dtype: torch.dtype) -> None:
    network = backbone().to(dtype)
    options: dict[str, Any] = {"pairs": 16, "amplitude": 0.01}
    found = reverse_correlation(network, ["conv2"], (64, 64), **options)["conv2"]
    copied = copy.deepcopy(network).float()
    same = reverse_correlation(copied, ["conv2"], (64, 64), **options)["conv2"]
    assert np.array_equal(found.field, same.field)
    assert next(network.parameters()).dtype == dtype


def test_rectifiers_that_work_in_place_or_twice_are_read_before() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            before = self.b(self.relu(self.a(x))) - 5  # silent behind its rectifier
            return torch.as_tensor(self.relu(before))

    torch.manual_seed(0)
    block = Residual()
    block.a.weight.data.abs_()
    found = reverse_correlation(
        nn.Sequential(block), ["0"], (32, 32), amplitude=0.05, target=0.999
    )["0"]
    truth = (block.b.weight[:, :, 0, 0] @ block.a.weight[:, :, 0, 0]).detach().numpy()
    assert np.allclose(found.field[:, :, 0, 0], truth, rtol=0.05, atol=0.01)


def test_measuring_leaves_the_network_and_all_generators_as_they_were() -> None:
    network = backbone().train()
    network.get_submodule("conv2").eval()
    network.conv3.requires_grad_(False)
    before = weights_fingerprint(network)
    flags = [m.training for m in network.modules()]
    learning = [p.requires_grad for p in network.parameters()]
    state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    with torch.inference_mode():
        images = torch.rand(8, 3, 64, 64, generator=torch.Generator())
        reverse_correlation(network, ["conv1", "conv3"], (64, 64), images, pairs=16)
    assert torch.equal(torch.get_rng_state(), state)
    assert str(np.random.get_state(legacy=False)) == str(numpy_state)
    assert weights_fingerprint(network) == before
    assert [m.training for m in network.modules()] == flags
    assert [p.requires_grad for p in network.parameters()] == learning
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_wrong_layers_are_errors() -> None:
    for layers, message in (
        ([], "layers is empty"),
        (["conv9"], "no layer 'conv9'"),
    ):
        with pytest.raises(ValueError, match=message):
            reverse_correlation(backbone(), layers, (64, 64))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="axes"):
        reverse_correlation(
            network, ["2"], (64, 64), known={"2": FieldGeometry(None, (1, 1), (0, 0))}
        )
    broken = linear(torch.full((1, 3, 3, 3), torch.nan))
    known = {"0": FieldGeometry((3, 3), (1, 1), (1, 1))}
    with pytest.raises(ValueError, match="not finite"):
        reverse_correlation(broken, ["0"], (64, 64), known=known)
