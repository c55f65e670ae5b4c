"""Image patches: blank, noise, the centre of an image, and where a unit responds most."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.hooks import find_layer, temporary_eval_mode


class StrongestResponses(NamedTuple):
    """The strongest responses of each unit: values (U, ≤k), places (U, ≤k, 3), strongest first.

    A place is (image, row, column). A value of −∞ is no response: its place is −1.
    """

    values: Tensor
    places: Tensor

    def with_more(self, values: Tensor, places: Tensor, k: int) -> "StrongestResponses":
        """Return the k strongest of these and others, each image once (a sampler may repeat it).

        Equal responses go by image, the lowest first, so that the order of batches and ranks does
        not matter; equal ones to the same image keep the place seen first. NaN is no response.
        """
        values = torch.cat([self.values, values], 1)
        values = values.masked_fill(values.isnan(), -torch.inf)
        best = StrongestResponses(values, torch.cat([self.places, places], 1)).strongest()
        best = best._at(best.places[..., 0].argsort(dim=1, stable=True))
        image = best.places[..., 0]
        again = torch.zeros_like(image, dtype=torch.bool)
        again[:, 1:] = image[:, 1:] == image[:, :-1]
        values, places = StrongestResponses(
            best.values.masked_fill(again, -torch.inf), best.places
        ).strongest(k)
        return StrongestResponses(values, places.masked_fill(values.isneginf()[..., None], -1))

    def strongest(self, k: int | None = None) -> "StrongestResponses":
        """Return these (the first k of them) with the strongest first; ties keep their order."""
        return self._at(self.values.argsort(dim=1, descending=True, stable=True)[:, :k])

    def _at(self, order: Tensor) -> "StrongestResponses":
        places = self.places.gather(1, order[..., None].expand(-1, -1, 3))
        return StrongestResponses(self.values.gather(1, order), places)


class StrongestPatchRecorder:
    """Keeps, per unit, the k images with the largest response and where in them it is.

    At most one patch per image. `with recorder.hooked(network):` listens to forward passes; each is
    announced by `recorder.next(ids)`. States of several ranks are combined by `merge`.

    Args:
        units: `{layer name: channels}`.
        k: patches kept per unit.
    """

    def __init__(self, units: Mapping[str, Sequence[int]], k: int) -> None:
        self.units = {name: torch.as_tensor(channels) for name, channels in units.items()}
        self.k = k
        self.best = {
            name: StrongestResponses(
                torch.empty(len(c), 0), torch.empty(len(c), 0, 3, dtype=torch.long)
            )
            for name, c in units.items()
        }
        self.ids = torch.empty(0, dtype=torch.long)

    def next(self, ids: Sequence[int]) -> None:
        """Say which images (positions in the data set) the next forward pass sees."""
        self.ids = torch.as_tensor(ids)

    @contextmanager
    def hooked(self, network: nn.Module) -> Iterator[None]:
        """Listen to a network's layers; no hook stays behind."""
        layers = {name: find_layer(network, name) for name in self.units}
        handles = [
            module.register_forward_hook(self._listener(name)) for name, module in layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def merge(self, others: Sequence[Mapping[str, StrongestResponses]]) -> None:
        """Add what other ranks found (their `best`)."""
        for other in others:
            for name, (values, places) in other.items():
                self.best[name] = self.best[name].with_more(values, places, self.k)

    def patches(self, name: str) -> NDArray[np.int64]:
        """Return (U, k, 3): image, row and column, strongest first, −1 where there is none.

        A response of 0 behind a rectifier is none, and so is NaN.
        """
        _, places = self.best[name]
        missing = self.k - places.shape[1]
        return nn.functional.pad(places, (0, 0, 0, missing), value=-1).cpu().numpy()

    def _listener(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def listen(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            units = self.units[name].to(output.device, non_blocking=True)
            chosen = output.detach()[:, units].float()
            values, where = chosen.flatten(2).max(2)
            width = output.shape[3]
            ids = self.ids.to(where.device, non_blocking=True)[:, None].expand_as(where)
            places = torch.stack([ids, where // width, where % width], 2)
            values = values.masked_fill(values == 0, -torch.inf)
            before = StrongestResponses(*(kept.to(output.device) for kept in self.best[name]))
            self.best[name] = before.with_more(values.T, places.transpose(0, 1), self.k)

        return listen


MID_GREY = 0.5


def blank_image(size: tuple[int, int], value: float = MID_GREY) -> Float[Tensor, "1 3 h w"]:
    """Return one image of a single grey."""
    return torch.full((1, 3, *size), value)


def noise_images(
    count: int, size: tuple[int, int], mean: float = MID_GREY, deviation: float = 0.2, seed: int = 0
) -> Float[Tensor, "N 3 h w"]:
    """Return images of Gaussian white noise from a generator of their own; values may leave [0, 1].

    Args:
        count: how many.
        size: (height, width).
        mean: of every pixel and colour.
        deviation: its standard deviation.
        seed: equal seeds give equal images.
    """
    generator = torch.Generator().manual_seed(seed)
    return mean + deviation * torch.randn(count, 3, *size, generator=generator)


def centred_patches(
    units: int, images: int, geometry: FieldGeometry, size: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the same patches for every unit, (units, images, 3): the middle of each image.

    >>> centred_patches(1, 2, FieldGeometry((11, 11), (4, 4), (2, 2)), (64, 96)).tolist()
    [[[0, 8, 12], [1, 8, 12]]]
    """
    at = [side // stride // 2 for side, stride in zip(size, geometry.stride, strict=True)]
    return np.array([[[i, *at] for i in range(images)]] * units, dtype=np.int64)


def strongest_patches(
    network: nn.Module,
    name: str,
    images: Float[Tensor, "N 3 H W"],
    units: Sequence[int],
    k: int = 9,
    batch_size: int = 16,
) -> NDArray[np.int64]:
    """Return the k patches to which each unit responds most, at most one per image, (U, k, 3).

    Args:
        network: any network.
        name: the layer's dotted name.
        images: where to look.
        units: channels.
        k: patches per unit; −1 fills up where there are fewer.
        batch_size: images per forward pass.
    """
    recorder = StrongestPatchRecorder({name: units}, k)
    like = next(network.parameters(), images)
    with temporary_eval_mode(network), torch.no_grad(), recorder.hooked(network):
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            recorder.next(range(start, start + len(batch)))
            network(batch.to(like))
    return recorder.patches(name)
