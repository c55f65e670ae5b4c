from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torchvision.models import resnet18

from deepsal.rf.hooks import find_layer, forward_until, temporary_eval_mode
from deepsal.rf.mapping.engine.shared_forward import (
    SharedForwardMode,
    SharedReplicaError,
    convolution_input_boxes,
)
from deepsal.rf.mapping.engine.windowed_gradient import Box, WindowedGradient

aten = torch.ops.aten
SIZE = (24, 32)
UNITS = [(0, 9, 12), (3, 9, 12), (1, 0, 0), (2, 11, 15)]
Run = Callable[[Tensor], Tensor]


def conv(channels: int, more: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(channels, more, kernel, padding=kernel // 2).requires_grad_(False)


torch.manual_seed(0)
FIRST, LAST, INNER, WIDE, OTHER = conv(3, 4), conv(4, 4), conv(4, 4), conv(3, 4, 7), conv(3, 4)
TAIL, DENSE, ROW = conv(8, 4), nn.Linear(4, 4).requires_grad_(False), torch.rand(SIZE[1])
BLUR = torch.rand(1, 1, 3, 3)


def count(network: Run, image: Tensor) -> list[int]:
    """Return the batch sizes of the convolutions that are run."""
    seen: list[int] = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func is aten.convolution.default:
                seen.append(len(args[0]))
            return func(*args, **kwargs or {})

    with Count(), SharedForwardMode():  # type: ignore[no-untyped-call]
        network(image)
    return seen


def lean(run: Run, image: Tensor, needed: list[Box] | None = None) -> Tensor:
    crops = image.expand(len(UNITS), -1, -1, -1).requires_grad_()
    with SharedForwardMode(needed):
        values = run(crops)[torch.arange(len(UNITS)), *torch.tensor(UNITS).T]
        (gradient,) = torch.autograd.grad(values.sum(), crops)
    return gradient.dense() if isinstance(gradient, WindowedGradient) else gradient


def loop(run: Run, image: Tensor) -> Tensor:
    gradients: list[Any] = []
    for unit in UNITS:
        x = image.clone().requires_grad_()
        gradients += torch.autograd.grad(run(x)[0, *unit], x)
    return torch.cat(gradients)


def picture() -> Tensor:
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def assigned(x: Tensor) -> Tensor:
    x = FIRST(x) * 1  # its first channel is no batch of maps
    x[:, 0].mul_(2)
    return torch.as_tensor(LAST(x))


def squeezed(x: Tensor) -> Tensor:
    x = FIRST(x)
    gate = DENSE(x.mean((2, 3))).sigmoid().view(*x.shape[:2], 1, 1)
    return torch.as_tensor(LAST(x * gate))


def coordinates(x: Tensor) -> Tensor:
    x = FIRST(x)
    return torch.as_tensor(
        LAST(x * x.mean(3, keepdim=True).sigmoid() * x.mean(2, keepdim=True).sigmoid())
    )


def doubled(x: Tensor) -> Tensor:
    x = FIRST(x)
    one, other = LAST(torch.cat([x, x * 2])).chunk(2)
    return torch.as_tensor(one.relu() + 2 * other.relu())


def half(x: Tensor) -> Tensor:
    """Two convolutions of maps that start at one place in memory and see unlike much."""
    x = torch.cat([OTHER(x), WIDE(x)], 1)
    return torch.as_tensor(LAST(TAIL(x)) + LAST(x[:, :4]))


def sliced(x: Tensor) -> Tensor:
    x = FIRST(x)
    corner = INNER(x[:, :, :6, :6])
    return torch.as_tensor(LAST(x) + functional.pad(corner, (0, SIZE[1] - 6, 0, SIZE[0] - 6)))


NETWORKS: dict[str, Run] = {
    "chain": lambda x: LAST(FIRST(x).relu()),
    "in place": lambda x: LAST(functional.relu(FIRST(x), inplace=True)),
    "sum in place": lambda x: LAST(INNER(y := FIRST(x)).add_(y)),
    "mixed sum": lambda x: LAST(FIRST(x).erf() + OTHER(x)),
    "dense sum in place": lambda x: LAST(FIRST(x).erf().add_(OTHER(x))),
    "no operator of ours": lambda x: LAST(functional.local_response_norm(FIRST(x), 3).erf()),
    "means per sample": squeezed,
    "a mean over channels": lambda x: LAST((y := FIRST(x)) * y.mean(1).sigmoid().unsqueeze(1)),
    "means of rows and columns": coordinates,
    "weights per column": lambda x: LAST(FIRST(x) * ROW),
    "samples joined": doubled,
    "samples padded": lambda x: LAST(functional.pad(FIRST(x), (0,) * 7 + (1,))[: len(x)]),
    "one kernel for all channels": lambda x: LAST(
        functional.conv2d(FIRST(x), BLUR.expand(4, 1, 3, 3), padding=1, groups=4)
    ),
    "channels apart": half,
    "a corner": sliced,
    "contiguous copy": lambda x: LAST(FIRST(x).contiguous().view(-1, 1, *SIZE).view(-1, 4, *SIZE)),
    "instance norm": lambda x: LAST(functional.instance_norm(FIRST(x)).relu()),
    "reflected": lambda x: LAST(functional.pad(FIRST(x), (2, 2, 2, 2), "reflect")),
    "enlarged": lambda x: LAST(functional.interpolate(FIRST(x), scale_factor=2.0, mode="bilinear")),
    "checkpointed": lambda x: LAST(
        checkpoint(lambda y: INNER(FIRST(y).relu()), x, use_reentrant=False)
    ),
    "dead": lambda x: LAST(functional.threshold(FIRST(x), 1e6, 0.0)),
}


@pytest.mark.parametrize("part", [Box(0, 24, 0, 32), Box(7, 12, 11, 15), Box(0, 2, 0, 1)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_gives_the_gradients_of_the_loop(name: str, part: Box) -> None:
    run, image = NETWORKS[name], picture()
    whole, expected = (part.cut(g) for g in (lean(run, image), loop(run, image)))
    clipped = part.cut(lean(run, image, convolution_input_boxes(run, image, part)))
    assert torch.allclose(whole, expected, atol=1e-6)
    assert torch.allclose(clipped, expected, atol=1e-6)
    assert image.grad is None


NOT_SHARED: dict[str, Run] = {
    "a product in place": lambda x: LAST(FIRST(x).mul_(2.0)),
    "an activation in place": lambda x: LAST(functional.elu(FIRST(x), inplace=True)),
    "a shared sum with others": lambda x: LAST(FIRST(x).add_(OTHER(x).erf())),
    "a channel doubled": assigned,
    "samples and channels as one": lambda x: LAST(FIRST(x).view(-1, 1, *SIZE).view(-1, 4, *SIZE)),
}


@pytest.mark.parametrize("name", NOT_SHARED)
def test_what_cannot_be_done_to_shared_memory_is_said(name: str) -> None:
    with pytest.raises(SharedReplicaError):
        lean(NOT_SHARED[name], picture())


def test_an_error_of_the_networks_own_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), SharedForwardMode():
        DENSE(torch.rand(2, 5))


def test_replicas_of_one_image_are_run_once_and_different_images_each() -> None:
    network = resnet18(weights=None)
    with temporary_eval_mode(network):
        run = forward_until(network, network.layer2)
        image = torch.rand(1, 3, 64, 64)
        assert count(run, image.expand(5, -1, -1, -1)) == [1] * 10
        assert count(run, image.repeat(5, 1, 1, 1)) == [5] * 10
        assert count(run, image) == [1] * 10


def test_behind_an_unknown_operator_the_batch_is_whole_again() -> None:
    image = picture().expand(5, -1, -1, -1)
    assert count(NETWORKS["no operator of ours"], image) == [1, 5]
    assert count(NETWORKS["means per sample"], image) == [1, 5]


def test_the_cells_that_see_a_part_of_the_image_are_its_cone() -> None:
    chain = nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 4, 5), conv(4, 4))
    part = Box(8, 11, 20, 22)
    image = picture()
    assert convolution_input_boxes(chain, image, part) == [part, Box(3, 6, 9, 12), Box(1, 8, 7, 14)]
    assert convolution_input_boxes(chain, image, Box(0, 1, 31, 32))[1:] == [
        Box(0, 1, 15, 16),
        Box(0, 3, 13, 16),
    ]
    assert not image.isnan().any()


def test_only_what_is_wanted_is_computed() -> None:
    torch.manual_seed(0)
    network = resnet18(weights=None)
    image = torch.rand(1, 3, 64, 96)
    part = Box(20, 29, 40, 49)
    seen: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func is aten.convolution_backward.default:
                seen.append(args[0].shape[-1] * args[0].shape[-2])
            return func(*args, **kwargs or {})

    with temporary_eval_mode(network):
        run = forward_until(network, find_layer(network, "layer2"))
        x = image.requires_grad_()
        areas = []
        for needed in (None, convolution_input_boxes(run, image, part)):
            seen.clear()
            with Watch(), SharedForwardMode(needed):  # type: ignore[no-untyped-call]
                (gradient,) = torch.autograd.grad(run(x)[0, :, 3, 5].sum(), x)
            assert isinstance(gradient, WindowedGradient)
            areas.append((gradient.box, sum(seen)))
    assert areas[1][0].intersection(part) == areas[1][0]
    assert areas[1][1] < 0.7 * areas[0][1]
    rows, columns = areas[0][0].shape
    assert rows <= 64
    assert columns <= 96
