import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision import models

from deepsal.models import build_backbone
from deepsal.rf.geometry import measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.gradient_fields import ReceptiveFields, map_receptive_fields
from deepsal.rf.mapping.readout import UnitReadout
from tests.conftest import backbone
from tests.rf.support import middle, unsettle


def answers(
    network: nn.Module, name: str, images: Tensor, patches: NDArray[np.int64], units: list[int]
) -> NDArray[np.float32]:
    """Return one autograd gradient per unit and patch, each of the full image, (U, K, 3, H, W)."""
    gradients = np.empty((*patches.shape[:2], *images.shape[1:]), dtype=np.float32)
    with temporary_eval_mode(network):
        probe = UnitReadout(network, name, images[:1])
        for u, unit in enumerate(units):
            for k, (i, row, column) in enumerate(patches[u].tolist()):
                image = images[i : i + 1].clone().requires_grad_()
                z = probe.activation(image)[0, unit, row, column]
                gradients[u, k] = torch.autograd.grad(z, image)[0][0]
    return gradients


def laid(gradients: NDArray[np.float32], fields: ReceptiveFields) -> NDArray[np.float32]:
    """Return the mean of gradients, cut around each patch's centre."""
    total: NDArray[np.float32] = np.zeros_like(fields.field)
    sides = np.array(fields.field.shape[2:])
    for (u, k), centre in zip(
        np.ndindex(fields.centre.shape[:2]), fields.centre.reshape(-1, 2), strict=True
    ):
        top, left = (200 + round(float(side)) for side in centre - (sides - 1) / 2)
        padded = np.pad(gradients[u, k], ((0, 0), (200, 200), (200, 200)))
        total[u] += padded[:, top : top + sides[0], left : left + sides[1]]
    return np.asarray(total / fields.patches.shape[1])


NETWORKS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "residual": (models.resnet18, "layer2"),
    "bottlenecks": (models.resnet50, "layer2"),
    "squeeze-excite": (models.mobilenet_v3_small, "features.6"),
    "concatenated": (models.densenet121, "features.denseblock2"),
    "fire": (models.squeezenet1_1, "features.5"),
    "shuffled": (models.shufflenet_v2_x0_5, "stage3"),
    "layer norm": (models.convnext_tiny, "features.3"),
    "attention": (lambda weights: build_backbone("test_vit", weights), "conv3"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_gives_the_fields_of_autograds_loop(name: str) -> None:
    torch.manual_seed(0)
    build, stage = NETWORKS[name]
    network = build(weights=None)
    unsettle(network)
    images = torch.rand(2, 3, 64, 96)
    geometry = measure_geometry(network, stage)
    with torch.no_grad():
        response = UnitReadout(network.eval(), stage, images).activation(images)
    limits = response.shape[2:]
    units = response.mean((0, 2, 3)).topk(3).indices.tolist()  # joined rectifiers: few are active
    shared = middle(3, 2, (limits[0] // 2, limits[1] // 2))
    apart = np.random.default_rng(0).integers((0, 0, 0), (2, *limits), (3, 2, 3))
    for patches in (shared, apart):
        gradients = answers(network, stage, images, patches, units)
        for window in (None, 31):
            fields = map_receptive_fields(network, stage, images, patches, units, geometry, window)
            expected = laid(gradients, fields)
            assert np.abs(expected).max() > 0
            assert np.abs(fields.field - expected).max() <= 1e-5 * np.abs(expected).max()


def test_other_precisions_layouts_and_batches_give_the_same_within_their_tolerance() -> None:
    torch.manual_seed(0)
    network = models.resnet18(weights=None)
    images = torch.rand(3, 3, 48, 64)
    patches = np.random.default_rng(0).integers((0, 0, 0), (3, 6, 8), (2, 3, 3))
    plain = map_receptive_fields(network, "layer2", images, patches, [0, 1]).field
    half = copy.deepcopy(network).bfloat16()
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    for fields, tolerance in (
        (map_receptive_fields(half, "layer2", images, patches, [0, 1]), 0.2),
        (
            map_receptive_fields(
                copy.deepcopy(network).double(), "layer2", images, patches, [0, 1]
            ),
            1e-4,
        ),
        (map_receptive_fields(last, "layer2", images, patches, [0, 1]), 1e-5),
        (map_receptive_fields(network, "layer2", images, patches, [0, 1], pixels_per_pass=1), 1e-5),
    ):
        assert fields.field.dtype == np.float32
        assert np.linalg.norm(fields.field - plain) <= tolerance * np.linalg.norm(plain)
    with torch.inference_mode():
        copied = images.clone().contiguous(memory_format=torch.channels_last)
        assert np.allclose(
            map_receptive_fields(network, "layer2", copied, patches, [0, 1]).field, plain
        )


def test_an_image_smaller_than_the_field_shows_what_lies_in_it() -> None:
    network, images = backbone(), torch.rand(1, 3, 40, 48)
    patches = middle(2, 1, (1, 0))
    fields = map_receptive_fields(network, "conv5", images, patches, [0, 1])
    expected = laid(answers(network, "conv5", images, patches, [0, 1]), fields)
    assert fields.field.shape == (2, 3, 40, 48)
    assert np.abs(fields.field - expected).max() < 1e-6


@pytest.mark.parametrize("at", [(28, 32), (0, 32), (28, 0), (28, 10)])
def test_a_stride_need_not_divide_the_image(at: tuple[int, int]) -> None:
    network, images = backbone(), torch.rand(1, 3, 115, 131)
    patches = middle(2, 1, at)
    fields = map_receptive_fields(network, "conv2", images, patches, [0, 1])
    expected = laid(answers(network, "conv2", images, patches, [0, 1]), fields)
    assert np.abs(fields.field - expected).max() < 1e-6


class Gated(nn.Module):
    """Multiplies in place by a gate that is no replica of one image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        response = torch.as_tensor(self.first(image))
        return response.mul_(torch.erf(self.gate(image)))


class Folded(nn.Module):
    """Sees every channel of every sample as a sample."""

    def forward(self, image: Tensor) -> Tensor:
        alone = image.view(-1, 1, *image.shape[2:])
        return nn.functional.avg_pool2d(alone, 3, 1, 1).view(image.shape)


@pytest.mark.parametrize("module", [Gated(), Folded(), nn.ELU(inplace=True)], ids=repr)
def test_what_cannot_share_memory_is_run_on_a_batch_without_it(module: nn.Module) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 3), module)
    network.append(nn.Conv2d(4 if isinstance(module, Gated) else 3, 4, 3))
    images, patches = torch.rand(1, 3, 24, 24), middle(4, 1, (7, 8))
    fields = map_receptive_fields(network, "2", images, patches, range(4))
    expected = laid(answers(network, "2", images, patches, [0, 1, 2, 3]), fields)
    assert np.abs(fields.field - expected).max() <= 1e-5 * np.abs(expected).max()
