"""Sensitivity of units to texture: responses to images and to noise with the same spectrum."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepsal.rf.backprojection.reinjection import scramble_phases
from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.memory import batch_size, run_in_batches
from deepsal.rf.tuning.indices import positive_ratio
from deepsal.rf.tuning.layer_reader import LayerReader


class TextureModulation(NamedTuple):
    """Texture modulation index of units, (U,), and its standard error over images."""

    modulation: FloatArray
    error: FloatArray


def texture_modulation(
    network: nn.Module,
    names: Sequence[str],
    images: Float[Tensor, "N 3 H W"],
    geometry: Mapping[str, FieldGeometry] | None = None,
    seed: int = 0,
) -> dict[str, TextureModulation]:
    """Compare the responses of all units of layers to textures and to their scrambled versions.

    The index is (T − N)/(T + N), T and N the mean rectified responses to the images and to noise
    with their amplitude spectra (`scramble_phases`), over images and positions; Freeman, Ziemba,
    Heeger, Simoncelli & Movshon 2013, Nat Neurosci 16:974, doi:10.1038/nn.3402. 0: the unit sees
    the spectrum alone. NaN for a unit that neither excites. The error is the jackknife's over
    images; NaN for one image. The network is left as it was.

    Args:
        network: any module that takes RGB images in [0, 1].
        names: dotted names of the layers, all on one path from the image.
        images: (N, 3, H, W), textures; sides are cut to multiples of the largest stride.
        geometry: geometries of layers; those of other layers are measured.
        seed: of the phases.

    Raises:
        ValueError: the errors of `record_grating_responses`.
    """
    known = {name: (geometry or {}).get(name) or measure_geometry(network, name) for name in names}
    stride = max(max(g.stride) for g in known.values())
    height, width = (side // stride * stride for side in images.shape[-2:])
    textures = images[:, :, :height, :width].float().cpu()
    noise = torch.from_numpy(scramble_phases(textures.numpy(), seed))
    means: dict[str, list[Tensor]] = {name: [] for name in known}
    with temporary_eval_mode(network), torch.no_grad():
        like = next(network.parameters(), torch.empty(0))
        shown = torch.cat([textures, noise])
        reader = LayerReader(network, known, shown[:1].to(like))
        readout = reader.readouts[reader.last]

        def record(part: slice) -> None:
            for name, z in reader.read(shown[part].to(like)).items():
                means[name].append(z.float().clamp(min=0).mean((2, 3)).cpu())

        run_in_batches(
            len(shown), batch_size(network, readout.activation, shown[:1].to(like)), record
        )
    return {name: _modulation(torch.cat(parts).double().numpy()) for name, parts in means.items()}


def _modulation(means: FloatArray) -> TextureModulation:
    """Return the index and its error from mean responses to textures, then noise, (2N, U)."""
    texture, noise = np.split(means, 2)
    count = len(texture)

    def index(t: FloatArray, n: FloatArray) -> FloatArray:
        return positive_ratio(t - n, t + n)

    whole = index(texture.mean(0), noise.mean(0))
    if count < 2:
        return TextureModulation(whole, np.full_like(whole, np.nan))
    others = [np.arange(count) != left_out for left_out in range(count)]
    parts = np.array([index(texture[rest].mean(0), noise[rest].mean(0)) for rest in others])
    error = np.sqrt((count - 1) * np.square(parts - parts.mean(0)).mean(0))
    return TextureModulation(whole, error)
