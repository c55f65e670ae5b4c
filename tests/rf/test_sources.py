import copy

import numpy as np
import pytest
import torch
from torch import nn

from deepsal.rf import sources
from deepsal.rf.geometry import geometry
from tests.conftest import arrays_equal, backbone


def test_blank_and_noise_are_reproducible_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (sources.noise(4, (64, 64), seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(first.std() - 0.2) < 0.01
    assert sources.blank((8, 9)).unique().tolist() == [0.5]


def test_the_strongest_patches_are_those_of_brute_force() -> None:
    network = backbone().eval()
    images = torch.rand(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = sources.strongest(network, "conv3", images, [1, 4], k=3, batch_size=2)
    with torch.no_grad():
        response = network(images)["conv3"][:, [1, 4]]
    best = response.flatten(2).max(2).values.argsort(0, descending=True)[:3].T
    assert arrays_equal(found[..., 0], best)


def test_other_seeds_means_and_deviations_give_other_noise() -> None:
    one, other = (sources.noise(2, (32, 32), seed=seed) for seed in (0, 1))
    assert not torch.equal(one, other)
    wide = sources.noise(2, (32, 32), mean=0.0, deviation=2.0)
    assert torch.allclose(wide, (one - 0.5) * 10, atol=1e-5)
    assert one.shape == (2, 3, 32, 32)
    assert sources.blank((4, 5), 0.25).eq(0.25).all()
    assert sources.blank((4, 5)).shape == (1, 3, 4, 5)


@pytest.mark.parametrize("stage", ["conv1", "conv3", "conv5"])
def test_the_middle_is_the_unit_whose_field_lies_most_centrally(stage: str) -> None:
    network = backbone()
    known = geometry(network, stage)
    found = sources.middle(2, 3, known, (64, 96))
    assert found.shape == (2, 3, 3)
    assert found[..., 0].tolist() == [[0, 1, 2]] * 2
    for axis, side in enumerate((64, 96)):
        at = found[0, 0, 1 + axis] * known.stride[axis]
        assert abs(at - side / 2) <= known.stride[axis]


def test_strongest_is_filled_up_restores_the_network_and_takes_any_precision() -> None:
    network = backbone().train()
    network.get_parameter("conv3.1.bias").data[2] = -100.0  # never active
    images = torch.rand(3, 3, 64, 64)
    found = sources.strongest(network, "conv3", images, [0, 2], k=5)
    assert found.shape == (2, 5, 3)
    assert sorted(found[0, :, 0].tolist()) == [-1, -1, 0, 1, 2]
    assert (found[1] == -1).all()
    assert network.training
    assert not any(m._forward_hooks for m in network.modules())
    assert int(network.get_buffer("conv3.1.num_batches_tracked")) == 0
    half: nn.Module = copy.deepcopy(network).bfloat16()
    assert np.isin(sources.strongest(half, "conv3", images, [0])[0, :3, 0], range(3)).all()
