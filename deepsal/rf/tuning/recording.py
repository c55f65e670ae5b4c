"""Units to which stimuli are shown: the middle of a layer, read on a crop, grey subtracted."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.arithmetic import current_number_format
from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.crop import crop_for_unit
from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.memory import batch_size, run_in_batches
from deepsal.rf.patches import blank_image
from deepsal.rf.tuning import stimuli

ResponseArray = NDArray[np.float32]


class MiddleUnitRecorder:
    """The middle unit of each of a layer's channels, on the smallest crop that serves them.

    Args:
        network: in eval mode, as inside `units.undisturbed`.
        name: of the layer.
        size: (height, width) of the image.
        geometry: of the layer.
        pixels: of images per forward pass; None for what memory has room for.

    Raises:
        ValueError: as `deepsal.rf.record_responses`.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        size: tuple[int, int],
        geometry: FieldGeometry,
        pixels: int | None,
    ) -> None:
        self.size, self.geometry = size, geometry
        stride, field, offset = geometry.stride, geometry.size, geometry.offset
        first = [((field[a] - 1) / 2 - offset[a] if field else (stride[a] - 1) / 2) for a in (0, 1)]
        row, column = (max(round(((size[a] - 1) / 2 - first[a]) / stride[a]), 0) for a in (0, 1))
        self.unit = row, column
        self.centre = row * stride[0] + first[0], column * stride[1] + first[1]
        box = crop_for_unit(geometry, size, self.unit)
        self.shape = box.bottom - box.top, box.right - box.left
        self.inner = self.centre[0] - box.top, self.centre[1] - box.left
        self.like = next(network.parameters(), torch.empty(0))
        grey = blank_image(self.shape).to(self.like)
        self.probe = UnitReadout(network, name, grey)
        if pixels is None:
            self.batch = batch_size(network, self.probe.activation, grey)
        else:
            self.batch = max(1, pixels // (self.shape[0] * self.shape[1]))
        self.at = box.unit
        self.grey = self.read(blank_image(self.shape), self.at)
        self._check()

    def disks(self, radius: FloatArray, contrast: float) -> ResponseArray:
        """Return what the units answer to bright and dark disks, (U, 2, R)."""
        signs = np.array([contrast, -contrast])
        return self.answers(stimuli.disk_images, contrast=signs, radius=radius)

    def read(self, images: Tensor, at: tuple[int, int]) -> Tensor:
        """Return what the units at a place answer, (S, U)."""
        images = images.to(self.like).contiguous(memory_format=self.probe.layout)
        z = self.probe.activation(images)
        if at[0] >= z.shape[2] or at[1] >= z.shape[3]:
            raise ValueError(
                f"{self.probe.name} of an image of {self.size} has no unit at {self.unit}: the "
                f"size or the {self.geometry} is wrong"
            )
        return z[:, :, at[0], at[1]].float()

    def answers(self, draw: Callable[..., Tensor], **axes: FloatArray) -> ResponseArray:
        """Return what the units answer to all combinations, less that to grey, (U, *axes)."""
        mesh = np.meshgrid(*axes.values(), indexing="ij")
        parts: list[Tensor] = []

        def show(part: slice) -> None:
            values = [m.ravel()[part] for m in mesh]
            images = draw(self.shape, self.inner, **dict(zip(axes, values, strict=True)))
            parts.append(self.read(images, self.at))

        self.batch = run_in_batches(mesh[0].size, self.batch, show)
        z = torch.cat(parts)
        noise = 8 * torch.finfo(self.like.dtype).eps * z.abs().max()  # of a sum's order
        answer = torch.where((z - self.grey).abs() > noise, z - self.grey, 0).cpu().numpy()
        return np.asarray(answer.T.reshape(-1, *mesh[0].shape))

    def _check(self) -> None:
        """Compare a crop's answer, beside another crop, with that of the whole image."""
        angle = [30.0]
        step = stimuli.edge_images(self.shape, self.inner, angle)
        small = self.read(torch.cat([step, 1 - step / 2]), self.at)[:1]
        large = self.read(stimuli.edge_images(self.size, self.centre, angle), self.unit)
        arithmetic = current_number_format(self.like.dtype, self.like.device.type)
        if (small - large).abs().max() > arithmetic.tolerance * large.abs().max():
            raise ValueError(
                f"a crop does not reproduce {self.probe.name} of the full image (computed in "
                f"{arithmetic.name}): the network looks beyond its theoretical field, or mixes "
                "images (batch norm without running statistics); give a size that its strides "
                "divide"
            )
