import numpy as np
import pytest
import torch

from deepsal.rf.topk import TopK
from tests.conftest import backbone

UNITS = {"conv1": [0, 3], "conv4": [1, 2, 5]}


def streamed(images: torch.Tensor, ids: list[int], batch: int, k: int = 3) -> TopK:
    network = backbone().eval()
    topk = TopK(UNITS, k)
    with torch.no_grad(), topk.hooked(network):
        for start in range(0, len(ids), batch):
            chosen = ids[start : start + batch]
            topk.next(chosen)
            network(images[chosen])
    assert not any(m._forward_hooks for m in network.modules())
    return topk


def test_streaming_equals_brute_force_with_one_patch_per_image() -> None:
    images = torch.rand(11, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    topk = streamed(images, list(range(11)), batch=4)
    with torch.no_grad():
        features = backbone().eval()(images)
    for stage, channels in UNITS.items():
        for found, channel in zip(topk.patches(stage), channels, strict=True):
            response = features[stage][:, channel]
            best = response.flatten(1).max(1)
            order = best.values.argsort(descending=True)[:3]
            assert found[:, 0].tolist() == order.tolist()
            for i, row, column in found.tolist():
                assert response[i, row, column] == best.values[i]


def test_merged_ranks_equal_one_process_also_with_an_empty_rank() -> None:
    images = torch.rand(9, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = streamed(images, list(range(9)), batch=3)
    first = streamed(images, [0, 2, 4, 6, 8], batch=2)
    first.merge([streamed(images, [1, 3, 5, 7], batch=4).best, TopK(UNITS, 3).best])
    for stage in UNITS:
        assert np.array_equal(first.patches(stage), whole.patches(stage))


def test_a_silent_unit_has_no_patch_and_fewer_images_than_k_are_padded() -> None:
    network = backbone().eval()
    network.get_parameter("conv1.1.bias").data[0] = -1e6
    topk = TopK({"conv1": [0, 1]}, 4)
    with torch.no_grad(), topk.hooked(network):
        topk.next([7, 9])
        network(torch.rand(2, 3, 32, 32))
    patches = topk.patches("conv1")
    assert (patches[0] == -1).all()
    assert sorted(patches[1, :, 0].tolist()) == [-1, -1, 7, 9]


def test_no_hook_stays_when_a_layer_does_not_exist() -> None:
    network = backbone()
    with pytest.raises(ValueError, match="no layer"):
        TopK({"conv1": [0], "conv9": [0]}, 1).hooked(network).__enter__()
    assert not any(m._forward_hooks for m in network.modules())
