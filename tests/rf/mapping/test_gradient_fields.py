from itertools import combinations

import numpy as np
import pytest
import torch
from captum.attr import NeuronGradient
from torch import Tensor, nn
from torchvision.models import resnet18

from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.mapping.gradient_fields import map_receptive_fields
from deepsal.rf.mapping.methods import FIELD_METHODS
from deepsal.rf.measures.similarity import field_correlation
from tests.conftest import NoTrace, arrays_equal, backbone, difference_of_gaussians
from tests.rf.support import SIDE, Planted, middle


@pytest.mark.parametrize("ratio", [0.3, 0.55, 0.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_centre_surround_unit_is_recovered(ratio: float, sign: int) -> None:
    truth = sign * difference_of_gaussians(SIDE, ratio)
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0)) - 0.5
    fields = map_receptive_fields(
        Planted(truth[None]), "units", images, middle(1, 4, (20, 20)), [0]
    )
    w = fields.field[0].sum(0)
    assert fields.field.shape == (1, 3, SIDE, SIDE)
    assert np.allclose(w, truth, atol=1e-6)
    negative = np.minimum(sign * w, 0).sum() / np.maximum(sign * w, 0).sum()
    expected = (sign * truth).clamp(max=0).sum() / (sign * truth).clamp(min=0).sum()
    assert negative == pytest.approx(expected.item(), abs=1e-5)
    assert np.unravel_index(np.abs(w).argmax(), w.shape) == (SIDE // 2, SIDE // 2)


@pytest.mark.parametrize("at", [(0, 0), (20, 39)])
def test_a_field_at_the_border_stays_aligned_on_its_unit(at: tuple[int, int]) -> None:
    truth = difference_of_gaussians(SIDE, 0.5)
    images = torch.rand(1, 3, 40, 40)
    fields = map_receptive_fields(Planted(truth[None]), "units", images, middle(1, 1, at), [0])
    inside = np.zeros((SIDE, SIDE), dtype=bool)
    rows, columns = (np.arange(SIDE) - SIDE // 2 + a for a in at)
    inside[np.ix_((rows >= 0) & (rows < 40), (columns >= 0) & (columns < 40))] = True
    assert np.allclose(fields.field[0].sum(0)[inside], truth.numpy()[inside], atol=1e-6)
    assert not fields.field[0][:, ~inside].any()


@pytest.mark.parametrize("stage", ["conv2", "conv4", "conv5"])
def test_batched_crops_equal_captums_loop_over_full_images(stage: str) -> None:
    network = backbone().eval()
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    stride = network.strides[stage]
    patches = np.random.default_rng(0).integers((0, 0, 0), (3, 64 // stride, 96 // stride), (6, 3))
    fields = map_receptive_fields(network, stage, images, patches[:, None], range(6))
    geometry = measure_geometry(network, stage)
    assert geometry.size is not None
    relu = network.get_submodule(stage).get_submodule("2")
    captum = NeuronGradient(lambda image: network(image)["conv5"], relu)
    for unit, (i, row, column) in enumerate(patches.tolist()):
        image = images[i : i + 1].clone().requires_grad_()
        whole = captum.attribute(image, (unit, row, column), attribute_to_neuron_input=True)
        padded = torch.nn.functional.pad(whole[0], [64] * 4).numpy()
        top, left = (64 + at * stride - geometry.offset[0] for at in (row, column))
        expected = padded[:, top : top + geometry.size[0], left : left + geometry.size[1]]
        assert np.abs(fields.field[unit] - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("window", [None, 9, 8])
def test_the_centre_is_that_of_the_theoretical_field(window: int | None) -> None:
    patches = np.array([[[0, 3, 5], [0, 0, 13], [0, 12, 0]]])
    network = backbone()
    fields = map_receptive_fields(
        network, "conv3", torch.rand(1, 3, 104, 112), patches, [0], window=window
    )
    geometry = measure_geometry(network, "conv3")
    assert geometry.size is not None
    expected = patches[0, :, 1:] * 8 - np.array(geometry.offset) + (np.array(geometry.size) - 1) / 2
    assert np.abs(fields.centre[0] - expected).max() <= (0.5 if window == 8 else 0)


def test_reliability_over_patches_is_the_corrected_correlation_of_their_halves() -> None:
    network = backbone()
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    patches = middle(3, 6, (4, 5))
    patches[1, 1:], patches[2] = -1, -1
    fields = map_receptive_fields(network, "conv3", images, patches, [0, 1, 2])
    each = map_receptive_fields(network, "conv3", images, patches, [0, 1, 2], average=False)
    first = [(0, *others) for others in combinations(range(1, 6), 2)]
    r = np.mean(
        [
            field_correlation(
                each.field[:1, half].mean(1), each.field[:1, np.setdiff1d(range(6), half)].mean(1)
            )
            for half in map(list, first)
        ]
    )
    assert fields.reliability[0] == pytest.approx(2 * r / (1 + r), abs=1e-5)
    assert np.isnan(fields.reliability[1:]).all(), "fewer than two patches"
    assert each.field.shape == (3, 6, *fields.field.shape[1:])
    assert np.allclose(each.field[0].mean(0), fields.field[0], atol=1e-6)
    assert np.isnan(each.field[1, 1:]).all()
    assert np.isnan(each.reliability).all()


@pytest.mark.parametrize(("count", "blocks"), [(1, None), (2, 2), (7, 6), (20, 8)])
def test_blocks_are_means_over_disjoint_patches(count: int, blocks: int | None) -> None:
    images = torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    fields = map_receptive_fields(backbone(), "conv2", images, middle(2, count, (4, 5)), [0, 1])
    if blocks is None:
        assert fields.blocks is None
        return
    assert fields.blocks is not None
    sizes = [len(range(start, count, blocks)) for start in range(blocks)]
    assert len(fields.blocks) == blocks
    assert np.allclose(np.average(fields.blocks, 0, sizes), fields.field, atol=1e-6)


def test_a_field_is_the_mean_over_its_patches() -> None:
    network = backbone()
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    patches = middle(3, 4, (4, 5))
    together = map_receptive_fields(network, "conv3", images, patches, [0, 1, 2])
    single = [
        map_receptive_fields(network, "conv3", images, patches[:, k : k + 1], [0, 1, 2])
        for k in range(4)
    ]
    assert np.allclose(together.field, np.mean([f.field for f in single], 0), atol=1e-7)
    assert np.allclose(together.activation, np.hstack([f.activation for f in single]))
    assert together.count.tolist() == [4, 4, 4]


def test_a_unit_without_a_patch_has_no_field() -> None:
    patches = middle(2, 2, (4, 4))
    patches[1] = -1
    fields = map_receptive_fields(backbone(), "conv3", torch.rand(2, 3, 64, 64), patches, [0, 1])
    assert np.isfinite(fields.field[0]).all()
    assert np.isnan(fields.field[1]).all()
    assert np.isnan(fields.centre[1]).all()
    assert np.isfinite(fields.centre[0]).all()
    assert fields.count.tolist() == [2, 0]


def test_a_smaller_window_is_the_middle_of_the_larger() -> None:
    images, patches = torch.rand(1, 3, 64, 64), middle(1, 1, (4, 4))
    large = map_receptive_fields(backbone(), "conv3", images, patches, [0])
    small = map_receptive_fields(backbone(), "conv3", images, patches, [0], window=9)
    assert arrays_equal(small.field, large.field[:, :, 3:12, 3:12])


def test_a_residual_network_is_read_before_its_last_rectifier() -> None:
    torch.manual_seed(0)
    network = resnet18(weights=None)
    network.layer1[1].bn2.bias.data.fill_(-100.0)  # every unit is silent
    network.layer1[1].conv2.weight.data *= 1e-3
    fields = map_receptive_fields(
        network, "layer1", torch.rand(1, 3, 64, 64), middle(4, 1, (8, 8)), range(4)
    )
    assert (fields.activation < 0).all()
    assert (np.abs(fields.field).max((1, 2, 3)) > 0).all()


def test_nothing_is_left_behind(leaves_no_trace: NoTrace) -> None:
    network = backbone().train()
    images = torch.rand(2, 3, 64, 64)
    with leaves_no_trace(network):
        map_receptive_fields(network, "conv4", images, middle(2, 2, (2, 2)), [0, 1])


def test_a_network_in_training_is_read_as_in_evaluation() -> None:
    images, patches = torch.rand(2, 3, 64, 64), middle(2, 2, (2, 2))
    learning, done = (
        map_receptive_fields(network, "conv4", images, patches, [0, 1])
        for network in (backbone().train(), backbone().eval())
    )
    assert arrays_equal(learning.field, done.field)


class Broken(nn.Module):
    """Fails at a given call; draws random numbers at each."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        torch.rand(3), np.random.rand()
        if self.calls == self.at:
            raise OSError("on purpose")
        return image


def generators() -> tuple[object, object]:
    """The states of torch's and numpy's; beartype draws from Python's in tests."""
    numpy = np.random.get_state(legacy=False)
    return torch.get_rng_state().tolist(), str(numpy)


@pytest.mark.parametrize("method", FIELD_METHODS)
def test_nothing_is_left_behind_by_an_exception(method: str, leaves_no_trace: NoTrace) -> None:
    broken = Broken(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), broken, nn.Conv2d(4, 4, 3), nn.ReLU()
    )
    network[1].eval()
    network[4].requires_grad_(False)
    images, patches = torch.rand(1, 3, 24, 24), middle(2, 1, (4, 4))
    geometry = FieldGeometry((5, 5), (1, 1), (0, 0))

    def ask() -> None:
        map_receptive_fields(
            network, "5", images, patches, [0, 1], geometry, method=method, samples=2
        )

    ask()
    for at in range(1, broken.calls + 1):
        before, broken.calls, broken.at = generators(), 0, at
        with leaves_no_trace(network), pytest.raises(OSError, match="on purpose"):
            ask()
        assert generators() == before
    assert images.grad is None
    assert not images.requires_grad


@pytest.mark.parametrize("at", [[0, 8, 0], [0, 0, 8], [1, 0, 0], [0, -1, 0]], ids=str)
def test_a_place_that_is_not_in_the_images_is_an_error(at: list[int]) -> None:
    good = middle(1, 1, (7, 7))
    network, images = backbone(), torch.rand(1, 3, 64, 64)
    assert map_receptive_fields(network, "conv3", images, good, [0]).count == [1]
    with pytest.raises(ValueError, match=f"patch \\[{', '.join(map(str, at))}\\]"):
        map_receptive_fields(network, "conv3", images, np.array([[at]]), [0])


def test_a_wrong_question_is_an_error_that_names_the_choices() -> None:
    network, images, patches = backbone(), torch.rand(1, 3, 64, 64), middle(1, 1, (0, 0))
    with pytest.raises(ValueError, match=r"units 0 … 7, not \[8\]"):
        map_receptive_fields(network, "conv3", images, patches, [8])
    with pytest.raises(ValueError, match=r"units 0 … 7, not \[-1\]"):
        map_receptive_fields(network, "conv3", images, patches, [-1])
    with pytest.raises(ValueError, match=r"no layer 'conv9'.*conv5"):
        map_receptive_fields(network, "conv9", images, patches, [0])
    with pytest.raises(ValueError, match=r"no method 'magic'.*'gradient'"):
        map_receptive_fields(network, "conv3", images, patches, [0], method="magic")
    with pytest.raises(ValueError, match=r"must be \(2 units, K, 3\)"):
        map_receptive_fields(network, "conv3", images, patches, [0, 1])


def test_a_network_that_mixes_images_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    for images in (torch.rand(1, 3, 24, 24), torch.full((1, 3, 24, 24), 0.5)):
        with pytest.raises(ValueError, match="mixes images"):
            map_receptive_fields(network, "1", images, middle(1, 1, (4, 4)), [0])


def test_a_crop_that_is_not_exact_is_refused() -> None:
    wrong = FieldGeometry((3, 3), (8, 8), (-4, -4))
    with pytest.raises(ValueError, match="does not reproduce conv3"):
        map_receptive_fields(
            backbone(), "conv3", torch.rand(1, 3, 64, 64), middle(1, 1, (4, 4)), [0], wrong
        )
