from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18, vgg11

from deepsal.rf.crop import crop
from deepsal.rf.theory import geometry
from deepsal.rf.units import layer, undisturbed, until
from tests.conftest import backbone

IMAGE = (128, 160)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "toy": (backbone, "conv4"),
    "residual": (lambda: resnet18(weights=None), "layer2"),
    "chain": (lambda: vgg11(weights=None), "features.9"),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("place", ["corner", "edge", "middle", "last"])
def test_value_and_gradient_in_the_crop_equal_those_in_the_full_image(
    name: str, place: str
) -> None:
    build, target = NETWORKS[name]
    torch.manual_seed(0)
    network = build()
    known = geometry(network, target)
    assert known.size is not None
    torch.manual_seed(1)
    image = torch.rand(1, 3, *IMAGE)
    with undisturbed(network):
        run = until(network, layer(network, target))
        rows, columns = run(image).shape[-2:]
        unit = {
            "corner": (0, 0),
            "edge": (rows // 2, 0),
            "middle": (rows // 2, columns // 2),
            "last": (rows - 1, columns - 1),
        }[place]
        box = crop(known, IMAGE, unit)
        assert (box.bottom - box.top) * (box.right - box.left) < IMAGE[0] * IMAGE[1]
        whole, all_pixels = probe(run, image, unit)
        piece, some = probe(run, image[:, :, box.top : box.bottom, box.left : box.right], box.unit)
    assert torch.allclose(whole, piece, rtol=1e-5, atol=1e-6)
    outside = all_pixels.clone()
    outside[:, :, box.top : box.bottom, box.left : box.right] -= some
    assert outside.abs().max() <= 1e-5 * all_pixels.abs().max()


def probe(
    run: Callable[[Tensor], Tensor], image: Tensor, unit: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    image = image.clone().requires_grad_()
    values = run(image)[0, :, unit[0], unit[1]]
    (gradient,) = torch.autograd.grad(values.sum(), image)
    return values.detach(), gradient


def test_an_image_smaller_than_the_field_is_used_whole() -> None:
    known = geometry(backbone(), "conv5")
    box = crop(known, (64, 64), (1, 0))
    assert box == (0, 64, 0, 64, (1, 0))
