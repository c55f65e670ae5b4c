"""Image patches: blank, noise, the centre of an image, and the strongest responses of a unit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.hooks import find_layer, temporary_eval_mode

MID_GREY = 0.5


class StrongestResponses(NamedTuple):
    """The strongest responses of each unit: values (U, ≤k), places (U, ≤k, 3), strongest first.

    A place is (image, row, column). A value of −∞ is no response: its place is −1.
    """

    values: Tensor
    places: Tensor

    def merged(self, values: Tensor, places: Tensor, k: int) -> "StrongestResponses":
        """Return the k strongest of these and others, each image once (a sampler may repeat it).

        Equal responses are in the order of images, so that the order of batches and ranks does not
        matter. Of equal responses to one image the earlier is returned. NaN is no response.
        """
        values = torch.cat([self.values, values], 1)
        values = values.masked_fill(values.isnan(), -torch.inf)
        best = StrongestResponses(values, torch.cat([self.places, places], 1)).sorted()
        best = best._reordered(best.places[..., 0].argsort(dim=1, stable=True))
        image = best.places[..., 0]
        again = torch.zeros_like(image, dtype=torch.bool)
        again[:, 1:] = image[:, 1:] == image[:, :-1]
        values, places = StrongestResponses(
            best.values.masked_fill(again, -torch.inf), best.places
        ).sorted(k)
        return StrongestResponses(values, places.masked_fill(values.isneginf()[..., None], -1))

    def sorted(self, k: int | None = None) -> "StrongestResponses":
        """Return the k strongest of these (None: all), strongest first; ties keep their order."""
        return self._reordered(self.values.argsort(dim=1, descending=True, stable=True)[:, :k])

    def _reordered(self, order: Tensor) -> "StrongestResponses":
        places = self.places.gather(1, order[..., None].expand(-1, -1, 3))
        return StrongestResponses(self.values.gather(1, order), places)


class StrongestPatchRecorder:
    """Records the strongest responses of each unit, at most one per image.

    `with recorder.record_from(network):` records forward passes; `recorder.announce_images(ids)`
    precedes each.

    Args:
        units: `{layer: channels}`.
        patches_per_unit: number of responses to record, k.

    Attributes:
        responses: `{layer: StrongestResponses}`.
    """

    def __init__(self, units: Mapping[str, Sequence[int]], patches_per_unit: int) -> None:
        self.units = {name: torch.as_tensor(channels) for name, channels in units.items()}
        self.patches_per_unit = patches_per_unit
        self.responses = {
            name: StrongestResponses(
                torch.empty(len(c), 0), torch.empty(len(c), 0, 3, dtype=torch.long)
            )
            for name, c in units.items()
        }
        self.image_ids = torch.empty(0, dtype=torch.long)

    def announce_images(self, image_ids: Sequence[int]) -> None:
        """Set the images (positions in the data set) of the next forward pass."""
        self.image_ids = torch.as_tensor(image_ids)

    @contextmanager
    def record_from(self, network: nn.Module) -> Iterator[None]:
        """Record the responses of a network's layers; the hooks are removed at the end."""
        with ExitStack() as hooks:
            for name in self.units:
                hook = self._recording_hook(name)
                hooks.enter_context(find_layer(network, name).register_forward_hook(hook))
            yield

    def patches(self, name: str) -> NDArray[np.int64]:
        """Return (U, k, 3): image, row and column, strongest first, −1 for no response.

        A response of 0 behind a rectifier is no response; neither is NaN.
        """
        places = self.responses[name].places
        missing = self.patches_per_unit - places.shape[1]
        return nn.functional.pad(places, (0, 0, 0, missing), value=-1).cpu().numpy()

    def _recording_hook(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            units = self.units[name].to(output.device, non_blocking=True)
            values, cell = output.detach()[:, units].float().flatten(2).max(2)
            width = output.shape[3]
            ids = self.image_ids.to(cell.device, non_blocking=True)[:, None].expand_as(cell)
            places = torch.stack([ids, cell // width, cell % width], 2)
            values = values.masked_fill(values == 0, -torch.inf)
            before = StrongestResponses(*(part.to(output.device) for part in self.responses[name]))
            self.responses[name] = before.merged(
                values.T, places.transpose(0, 1), self.patches_per_unit
            )

        return record


def blank_image(size: tuple[int, int], value: float = MID_GREY) -> Float[Tensor, "1 3 h w"]:
    """Return one image of a single grey."""
    return torch.full((1, 3, *size), value)


def noise_images(
    count: int, size: tuple[int, int], mean: float = MID_GREY, deviation: float = 0.2, seed: int = 0
) -> Float[Tensor, "N 3 h w"]:
    """Return images of Gaussian white noise, clipped nowhere, from a generator of their own.

    Args:
        count: number of images.
        size: (height, width).
        mean: of every pixel and colour.
        deviation: standard deviation of every pixel and colour.
        seed: equal seeds give equal images.
    """
    generator = torch.Generator().manual_seed(seed)
    return mean + deviation * torch.randn(count, 3, *size, generator=generator)


def centred_patches(
    units: int, images: int, geometry: FieldGeometry, size: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the same patches for every unit, (units, images, 3): the centre of each image.

    >>> centred_patches(1, 2, FieldGeometry((11, 11), (4, 4), (2, 2)), (64, 96)).tolist()
    [[[0, 8, 12], [1, 8, 12]]]
    """
    centre = [side // stride // 2 for side, stride in zip(size, geometry.stride, strict=True)]
    return np.array([[[i, *centre] for i in range(images)]] * units, dtype=np.int64)


def strongest_patches(
    network: nn.Module,
    name: str,
    images: Float[Tensor, "N 3 H W"],
    units: Sequence[int],
    patches_per_unit: int = 9,
    batch_size: int = 16,
) -> NDArray[np.int64]:
    """Return the k patches to which each unit responds most, at most one per image.

    Args:
        network: any network.
        name: dotted name of the layer.
        images: the images to search.
        units: U channels.
        patches_per_unit: k.
        batch_size: images per forward pass.

    Returns:
        (U, k, 3) of (image, row, column in the layer's output), strongest first; −1 for none.
    """
    recorder = StrongestPatchRecorder({name: units}, patches_per_unit)
    like = next(network.parameters(), images)
    with temporary_eval_mode(network), torch.no_grad(), recorder.record_from(network):
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            recorder.announce_images(range(start, start + len(batch)))
            network(batch.to(like))
    return recorder.patches(name)
