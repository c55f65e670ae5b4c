import copy
from math import inf, nan

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.geometry import measure_geometry
from deepsal.rf.patches import (
    StrongestPatchRecorder,
    StrongestResponses,
    blank_image,
    centred_patches,
    noise_images,
    strongest_patches,
)
from tests.conftest import NoTrace, arrays_equal, backbone

UNITS = {"conv1": [0, 3], "conv4": [1, 2, 5]}


def streamed(
    images: torch.Tensor, ids: list[int], batch: int, k: int = 3
) -> StrongestPatchRecorder:
    network = backbone().eval()
    recorder = StrongestPatchRecorder(UNITS, k)
    with torch.no_grad(), recorder.record_from(network):
        for start in range(0, len(ids), batch):
            batch_ids = ids[start : start + batch]
            recorder.announce_images(batch_ids)
            network(images[batch_ids])
    assert not any(m._forward_hooks for m in network.modules())
    return recorder


def test_streaming_equals_brute_force_with_one_patch_per_image() -> None:
    images = torch.rand(11, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    recorder = streamed(images, list(range(11)), batch=4)
    with torch.no_grad():
        features = backbone().eval()(images)
    for stage, channels in UNITS.items():
        for patches, channel in zip(recorder.patches(stage), channels, strict=True):
            response = features[stage][:, channel]
            best = response.flatten(1).max(1)
            order = best.values.argsort(descending=True)[:3]
            assert patches[:, 0].tolist() == order.tolist()
            for i, row, column in patches.tolist():
                assert response[i, row, column] == best.values[i]


@pytest.mark.parametrize("k", [1, 3, 20])
def test_an_image_that_a_sampler_repeats_is_listed_once(k: int) -> None:
    images = torch.rand(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = streamed(images, list(range(7)), batch=3, k=k)
    repeated = streamed(images, [0, 3, 6, 2, 5, 1, 4, 0, 1], batch=2, k=k)
    for stage in UNITS:
        assert np.array_equal(repeated.patches(stage), whole.patches(stage))


EMPTY = StrongestResponses(torch.empty(2, 0), torch.empty(2, 0, 3, dtype=torch.long))


def brute_force(values: Tensor, places: Tensor, k: int) -> list[list[tuple[float, list[int]]]]:
    ranked = []
    for responses, where in zip(values.tolist(), places.tolist(), strict=True):
        best: dict[int, tuple[float, list[int]]] = {}
        for value, place in zip(responses, where, strict=True):
            if value > best.get(place[0], (-inf, []))[0]:  # never true of NaN
                best[place[0]] = value, place
        ranked.append(sorted(best.values(), key=lambda pair: (-pair[0], pair[1][0]))[:k])
    return ranked


def listed(best: StrongestResponses) -> list[list[tuple[float, list[int]]]]:
    pairs = zip(best.values.tolist(), best.places.tolist(), strict=True)
    return [
        [(v, p) for v, p in zip(values, places, strict=True) if p[0] >= 0]
        for values, places in pairs
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 4, 50])
def test_any_stream_equals_brute_force_with_repeats_ties_and_nan(seed: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-3, 4, (2, 40), generator=generator).float()
    values[torch.rand(2, 40, generator=generator) < 0.2] = nan
    places = torch.randint(0, 12, (2, 40, 3), generator=generator)
    best, ranks = EMPTY, [EMPTY, EMPTY, EMPTY]
    for i, some in enumerate(range(0, 40, 8)):
        batch = values[:, some : some + 8], places[:, some : some + 8]
        best = best.merged(*batch, k)
        ranks[i % 2] = ranks[i % 2].merged(*batch, k)
    assert listed(best) == brute_force(values, places, k)
    there, back = EMPTY, EMPTY
    for one, other in zip(ranks, reversed(ranks), strict=True):
        there, back = there.merged(*one, k), back.merged(*other, k)
    for merged in (there, back):
        assert [[(v, p[0]) for v, p in unit] for unit in listed(merged)] == [
            [(v, p[0]) for v, p in unit] for unit in listed(best)
        ]


def test_ties_go_to_the_lowest_image_whichever_rank_saw_it() -> None:
    one, other = (
        EMPTY.merged(torch.ones(2, 2), torch.tensor([[[i, 0, 0], [i + 2, 0, 0]]] * 2), 2)
        for i in (0, 1)
    )
    for merged in (one.merged(*other, 2), other.merged(*one, 2)):
        assert merged.places[..., 0].tolist() == [[0, 1], [0, 1]]


def test_nan_is_no_response() -> None:
    network = backbone().eval()
    recorder = StrongestPatchRecorder({"conv1": [0]}, 2)
    images = torch.rand(2, 3, 32, 32)
    images[0, 0, 5, 5] = nan
    with torch.no_grad(), recorder.record_from(network):
        recorder.announce_images([3, 4])
        network(images)
    assert recorder.patches("conv1")[0, :, 0].tolist() == [4, -1]


def test_a_silent_unit_has_no_patch_and_fewer_images_than_k_are_padded() -> None:
    network = backbone().eval()
    network.get_parameter("conv1.1.bias").data[0] = -1e6
    recorder = StrongestPatchRecorder({"conv1": [0, 1]}, 4)
    with torch.no_grad(), recorder.record_from(network):
        recorder.announce_images([7, 9])
        network(torch.rand(2, 3, 32, 32))
    patches = recorder.patches("conv1")
    assert (patches[0] == -1).all()
    assert sorted(patches[1, :, 0].tolist()) == [-1, -1, 7, 9]


def test_no_hook_stays_when_a_layer_does_not_exist(leaves_no_trace: NoTrace) -> None:
    network = backbone()
    with leaves_no_trace(network), pytest.raises(ValueError, match="no layer"):
        StrongestPatchRecorder({"conv1": [0], "conv9": [0]}, 1).record_from(network).__enter__()


def test_blank_and_noise_are_reproducible_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (noise_images(4, (64, 64), seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(first.std() - 0.2) < 0.01
    assert blank_image((8, 9)).unique().tolist() == [0.5]


def test_the_strongest_patches_are_those_of_brute_force() -> None:
    network = backbone().eval()
    images = torch.rand(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    patches = strongest_patches(network, "conv3", images, [1, 4], patches_per_unit=3, batch_size=2)
    with torch.no_grad():
        response = network(images)["conv3"][:, [1, 4]]
    best = response.flatten(2).max(2).values.argsort(0, descending=True)[:3].T
    assert arrays_equal(patches[..., 0], best)


def test_other_seeds_means_and_deviations_give_other_noise() -> None:
    one, other = (noise_images(2, (32, 32), seed=seed) for seed in (0, 1))
    assert not torch.equal(one, other)
    wide = noise_images(2, (32, 32), mean=0.0, deviation=2.0)
    assert torch.allclose(wide, (one - 0.5) * 10, atol=1e-5)
    assert one.shape == (2, 3, 32, 32)
    assert blank_image((4, 5), 0.25).eq(0.25).all()
    assert blank_image((4, 5)).shape == (1, 3, 4, 5)


@pytest.mark.parametrize("stage", ["conv1", "conv3", "conv5"])
def test_the_middle_is_the_unit_whose_field_lies_most_centrally(stage: str) -> None:
    network = backbone()
    geometry = measure_geometry(network, stage)
    patches = centred_patches(2, 3, geometry, (64, 96))
    assert patches.shape == (2, 3, 3)
    assert patches[..., 0].tolist() == [[0, 1, 2]] * 2
    for axis, side in enumerate((64, 96)):
        at = patches[0, 0, 1 + axis] * geometry.stride[axis]
        assert abs(at - side / 2) <= geometry.stride[axis]


def test_strongest_is_filled_up_restores_the_network_and_takes_any_precision(
    leaves_no_trace: NoTrace,
) -> None:
    network = backbone().train()
    network.get_parameter("conv3.1.bias").data[2] = -100.0  # never active
    images = torch.rand(3, 3, 64, 64)
    with leaves_no_trace(network):
        patches = strongest_patches(network, "conv3", images, [0, 2], patches_per_unit=5)
    assert patches.shape == (2, 5, 3)
    assert sorted(patches[0, :, 0].tolist()) == [-1, -1, 0, 1, 2]
    assert (patches[1] == -1).all()
    half: nn.Module = copy.deepcopy(network).bfloat16()
    assert np.isin(strongest_patches(half, "conv3", images, [0])[0, :3, 0], range(3)).all()
