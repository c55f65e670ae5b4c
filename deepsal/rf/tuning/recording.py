"""Responses of the middle unit of each channel to stimuli, minus the response to grey."""

from collections.abc import Callable
from functools import partial
from typing import Any

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

ResponseArray = NDArray[np.floating[Any]]


class MiddleUnitRecorder:
    """Recorder of the middle unit of each channel of a layer, on the smallest crop that suffices.

    Args:
        network: network in eval mode, as inside `temporary_eval_mode`.
        name: dotted name of the layer.
        size: (height, width) of the image.
        geometry: geometry of the layer.
        pixels_per_pass: pixels of images per forward pass; None for as many as memory allows.

    Raises:
        ValueError: the errors of `record_responses`.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        size: tuple[int, int],
        geometry: FieldGeometry,
        pixels_per_pass: int | None,
    ) -> None:
        self.image_size, self.geometry = size, geometry
        stride, field, offset = geometry.stride, geometry.size, geometry.offset
        first = [((field[a] - 1) / 2 - offset[a] if field else (stride[a] - 1) / 2) for a in (0, 1)]
        row, column = (max(round(((size[a] - 1) / 2 - first[a]) / stride[a]), 0) for a in (0, 1))
        self.unit = row, column
        self.centre = row * stride[0] + first[0], column * stride[1] + first[1]
        box, self.unit_in_crop = crop_for_unit(geometry, size, self.unit)
        self.crop_size = box.shape
        self.centre_in_crop = self.centre[0] - box.top, self.centre[1] - box.left
        self.reference = next(network.parameters(), torch.empty(0))
        grey = blank_image(self.crop_size).to(self.reference)
        self.readout = UnitReadout(network, name, grey)
        if pixels_per_pass is None:
            self.batch_size = batch_size(network, self.readout.activation, grey)
        else:
            self.batch_size = max(1, pixels_per_pass // (self.crop_size[0] * self.crop_size[1]))
        self.grey_response = self.read_units(blank_image(self.crop_size), self.unit_in_crop)
        self._check_crop()

    def record_disks(self, radius: FloatArray, contrast: float) -> ResponseArray:
        """Record the responses to bright and dark disks, (U, 2, R)."""
        signs = np.array([contrast, -contrast])
        return self.record(stimuli.disk_images, contrast=signs, radius=radius)

    def read_units(self, images: Tensor, at: tuple[int, int]) -> Tensor:
        """Return the responses of the units at (row, column) of the output to S images, (S, U)."""
        images = images.to(self.reference).contiguous(memory_format=self.readout.memory_format)
        z = self.readout.activation(images)
        if at[0] >= z.shape[2] or at[1] >= z.shape[3]:
            raise ValueError(
                f"{self.readout.name} of an image of {self.image_size} has no unit at {self.unit}: "
                f"the size or the {self.geometry} is wrong"
            )
        return z[:, :, at[0], at[1]].float()

    def record(self, draw: Callable[..., Tensor], **axes: FloatArray) -> ResponseArray:
        """Record the responses to all combinations of parameters, minus that to grey, (U, *axes).

        Args:
            draw: function of `deepsal.rf.tuning.stimuli`: of the size, the centre and `axes`.
            axes: values of each parameter of the stimuli.
        """
        mesh = np.meshgrid(*axes.values(), indexing="ij")
        parts: list[Tensor] = []

        def record_part(part: slice) -> None:
            values = [m.ravel()[part] for m in mesh]
            parameters = dict(zip(axes, values, strict=True))
            with self.reference.device:
                images = draw(self.crop_size, self.centre_in_crop, **parameters)
            parts.append(self.read_units(images, self.unit_in_crop))

        self.batch_size = run_in_batches(mesh[0].size, self.batch_size, record_part)
        z = torch.cat(parts)
        rounding = 8 * torch.finfo(self.reference.dtype).eps * z.abs().max()  # order of sums
        change = z - self.grey_response
        response = torch.where(change.abs() > rounding, change, 0).cpu().numpy()
        return np.asarray(response.T.reshape(-1, *mesh[0].shape))

    def _check_crop(self) -> None:
        """Compare the response on a crop, in a batch with another, with that on the whole image."""
        draw = partial(stimuli.grating_images, frequency=[0.05], orientation=[30.0], phase=[90.0])
        grating = draw(self.crop_size, self.centre_in_crop)
        small = self.read_units(torch.cat([grating, 1 - grating / 2]), self.unit_in_crop)[:1]
        large = self.read_units(draw(self.image_size, self.centre), self.unit)
        arithmetic = current_number_format(self.reference.dtype, self.reference.device.type)
        if (small - large).abs().max() > arithmetic.tolerance * large.abs().max():
            raise ValueError(
                f"a crop does not reproduce {self.readout.name} of the full image (computed in "
                f"{arithmetic.name}): the network looks beyond its theoretical field, or mixes "
                "images (batch norm without running statistics); give a size that its strides "
                "divide"
            )
