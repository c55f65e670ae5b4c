from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.vgg import cfgs, make_layers
from torchvision.ops import SqueezeExcitation

from deepsal.rf.geometry import measure_geometry
from deepsal.rf.hooks import find_layer, forward_until, temporary_eval_mode
from deepsal.rf.mapping.engine.windowed_gradient import Box
from tests.conftest import backbone, stage
from tests.rf.mapping.support import crop_for_unit
from tests.rf.support import unsettle


def lopsided() -> nn.Module:
    """Even, dilated and missing padding, another in each direction, strides of 2 and 3."""
    return nn.Sequential(
        nn.Conv2d(3, 4, (4, 3), (2, 3), padding=(1, 2)),
        nn.SiLU(),
        nn.MaxPool2d((2, 3), 2, ceil_mode=True),
        nn.Conv2d(4, 4, (3, 2), dilation=(2, 1), padding=(0, 1)),
    )


def gated() -> nn.Module:
    """A squeeze-and-excitation in the middle: of local context before it, of global after it."""
    return nn.Sequential(stage(3, 8), stage(8, 8), SqueezeExcitation(8, 4), stage(8, 8))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "toy": (backbone, "conv4"),
    "chain": (lambda: make_layers(cfgs["A"]), "9"),
    "lopsided chain": (lopsided, "3"),
    "residual": (lambda: resnet18(weights=None), "layer2"),
    "before the gate": (gated, "1"),
    "behind the gate": (gated, "3"),
}


@pytest.mark.parametrize("size", [(128, 160), (115, 131)])
@pytest.mark.parametrize("name", NETWORKS)
def test_value_and_gradient_in_the_crop_equal_those_in_the_full_image(
    name: str, size: tuple[int, int]
) -> None:
    build, target = NETWORKS[name]
    torch.manual_seed(0)
    network = build()
    unsettle(network)
    geometry = measure_geometry(network, target)
    image = torch.rand(1, 3, *size)
    with temporary_eval_mode(network):
        run = forward_until(network, find_layer(network, target))
        rows, columns = run(image).shape[-2:]
        for unit in [
            *((0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)),
            *((rows // 2, 0), (rows // 2, columns // 2), (rows // 2, columns // 2 + 1)),
        ]:
            box, position = crop_for_unit(geometry, size, unit)
            if geometry.size is None:
                assert (box, position) == (Box.whole(size), unit)
            else:
                assert box.shape[0] * box.shape[1] < size[0] * size[1]
            whole, all_pixels = value_and_gradient(run, image, unit)
            piece, some = value_and_gradient(run, box.cut(image), position)
            assert whole.abs().max() > 0
            assert torch.allclose(whole, piece, rtol=1e-5, atol=1e-6), unit
            box.cut(all_pixels).sub_(some)
            assert all_pixels.abs().max() <= 1e-5 * some.abs().max(), unit


def value_and_gradient(
    run: Callable[[Tensor], Tensor], image: Tensor, unit: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    image = image.clone().requires_grad_()
    values = run(image)[0, :, unit[0], unit[1]]
    (gradient,) = torch.autograd.grad(values.sum(), image)
    return values.detach(), gradient


def test_behind_a_gate_no_smaller_crop_would_do() -> None:
    torch.manual_seed(0)
    network = gated()
    unsettle(network)
    image = torch.rand(1, 3, 128, 160)
    image[..., 112:] += 10  # far from the unit
    with temporary_eval_mode(network):
        run = forward_until(network, find_layer(network, "3"))
        whole, _ = value_and_gradient(run, image, (8, 10))
        local, _ = value_and_gradient(run, image[:, :, 32:96, 48:112], (4, 4))
    assert measure_geometry(network, "3").size is None
    assert not torch.allclose(whole, local, rtol=1e-4)


def test_an_image_smaller_than_the_field_is_used_whole() -> None:
    geometry = measure_geometry(backbone(), "conv5")
    assert crop_for_unit(geometry, (64, 64), (1, 0)) == (Box(0, 64, 0, 64), (1, 0))
