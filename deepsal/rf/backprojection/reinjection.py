"""Responses to a unit's pattern as an image (figure 4.7 of He & Pugeault 2018) and to controls."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.measures.profile import Field


def pooled_activation(
    run: Callable[[Tensor], Tensor], images: Field | Tensor, batch_size: int = 16
) -> NDArray[np.float64]:
    """Return the response of each unit to each image: the sum of its pooled map.

    He & Pugeault 2018, figure 4.7: the pattern of one unit is the image; all units are read.

    Args:
        run: images (B, 3, H, W) to pooled maps (B, C, h, w). A module (`features[:24]`) is read in
            eval mode, on its device and in its precision, and left unchanged; any other callable
            is called directly.
        images: (N, 3, H, W), inputs of `run`: patterns of `clamp_backprojection`, or renderings of
            them (`np.moveaxis(render_scaled(pattern), -1, 1) / np.float32(255)`).
        batch_size: images at a time.

    Returns:
        (N, C).

    Raises:
        ValueError: `run` returns no map.

    >>> pooled_activation(nn.AvgPool2d(2), torch.ones(1, 3, 4, 4)).tolist()
    [[4.0, 4.0, 4.0]]
    """
    batches = torch.as_tensor(images).split(batch_size)
    network = run if isinstance(run, nn.Module) else nn.Module()
    like = next(network.parameters(), batches[0])
    sums = []
    with temporary_eval_mode(network), torch.no_grad():
        for batch in batches:
            pooled = run(batch.to(like))
            if not isinstance(pooled, Tensor) or pooled.dim() != 4:
                shape = getattr(pooled, "shape", type(pooled).__name__)
                raise ValueError(f"run must return pooled maps (B, C, h, w), not {shape}")
            sums.append(pooled.double().sum((2, 3)).cpu())
    return np.asarray(torch.cat(sums).numpy())


def scale_to_contrast(pattern: Field, contrast: float) -> Field:
    """Scale patterns to one standard deviation; a pattern of zeros is unchanged.

    The amplitude of a back-projected pattern depends on its filters, and is far below or above that
    of the images of training.

    Args:
        pattern: (U, 3, h, w).
        contrast: standard deviation over pixels and colours, in the units of the network's input.

    >>> scale_to_contrast(np.float32([[[[0, 2]], [[0, 2]], [[0, 2]]]]), 0.5).ravel().tolist()
    [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    """
    deviation = pattern.std((1, 2, 3), keepdims=True)
    return np.asarray(pattern * (contrast / np.where(deviation > 0, deviation, 1)), pattern.dtype)


def reference_responses(
    run: Callable[[Tensor], Tensor], pattern: Field, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Return how much each unit answers to what a pattern is to be compared with, (U, C) each.

    blank: zeros, the colour that the network subtracts · noise: white, with the mean and deviation
    of each pattern · scrambled: `scramble_phases`, each pattern's own spectrum without its form.

    Args:
        run: as in `pooled_activation`.
        pattern: (U, 3, h, w).
        seed: of noise and phases.

    >>> found = reference_responses(nn.AvgPool2d(2), np.ones((1, 3, 4, 4), np.float32))
    >>> {name: answers.round(4).tolist()[0] for name, answers in found.items()}
    {'blank': [0.0, 0.0, 0.0], 'noise': [4.0, 4.0, 4.0], 'scrambled': [4.0, 4.0, 4.0]}
    """
    axes = (1, 2, 3)
    mean, deviation = pattern.mean(axes, keepdims=True), pattern.std(axes, keepdims=True)
    noise = np.random.default_rng(seed).normal(mean, deviation, pattern.shape)
    blank = pooled_activation(run, np.zeros_like(pattern[:1]))
    return {
        "blank": np.repeat(blank, len(pattern), axis=0),
        "noise": pooled_activation(run, noise.astype(np.float32)),
        "scrambled": pooled_activation(run, scramble_phases(pattern, seed)),
    }


def scramble_phases(pattern: Field, seed: int = 0) -> Field:
    """Return patterns with their amplitude spectra, and so their means and energies, but no form.

    The phases of white noise are added to those of each pattern, the same to its three colours, so
    that the relation of the colours is unchanged.

    Args:
        pattern: (U, 3, h, w).
        seed: equal seeds give equal phases.

    >>> spot = np.zeros((1, 3, 8, 8), np.float32)
    >>> spot[..., 4, 4] = 1
    >>> scrambled = scramble_phases(spot)
    >>> float(scrambled.max().round(2)) < 1, np.allclose((scrambled**2).sum(), 3, rtol=1e-5)
    (True, True)
    """
    count, _, *size = pattern.shape
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(count, 1, *size)))
    turn = noise / np.abs(noise)
    turn[..., 0, 0] = 1  # the mean keeps its sign
    return np.fft.ifft2(np.fft.fft2(pattern) * turn).real.astype(np.float32)
