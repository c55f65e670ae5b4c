"""The test's best, middle and worst predictions, kept small for the report page."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.data.batch import FixationImages
from deepsal.rf import store

DensityPredictor = Callable[[Tensor, tuple[int, int], list[str]], Tensor]
IMAGES_PER_RANK = 3
LONGEST_SIDE = 320
"""Longest side of a kept picture, pixels."""


def best_median_worst(values: Sequence[float], each: int = IMAGES_PER_RANK) -> dict[str, list[int]]:
    """Return the positions of the best, the middle and the worst scores, no position twice.

    Scores that are not finite are passed over; with few scores the middle goes first, then the
    worst.

    >>> best_median_worst([0.5, 3.0, 1.0, 2.0, float("nan"), 0.1], each=1)
    {'best': [1], 'median': [2], 'worst': [5]}
    """
    order = sorted((i for i, v in enumerate(values) if np.isfinite(v)), key=lambda i: -values[i])
    each = min(each, -(-len(order) // 3))
    best = order[:each]
    worst = order[each:][-each:]
    middle = order[each : len(order) - len(worst)]
    start = max((len(middle) - each) // 2, 0)
    return {"best": best, "median": middle[start : start + each], "worst": worst}


def write_gallery(
    file: Path,
    predict: DensityPredictor,
    images: FixationImages,
    scores: Sequence[tuple[int, float]],
) -> None:
    """Predict again the best, middle and worst images by NSS, and write them to one file.

    `image`, `truth` and `prediction` are uint8, (n, h, w, 3) and (n, h, w), each map from 0 to its
    own maximum; `about` is a JSON list of name, rank, score and fixations as fractions of the
    image.

    Args:
        file: the `.npz` file.
        predict: image (1, 3, h, w), size and names → log density (1, H, W), on the CPU.
        images: the test images.
        scores: (position in `images`, NSS) of every scored image.
    """
    picked = best_median_worst([score for _, score in scores])
    about: list[dict[str, Any]] = []
    pictures, truths, predictions = [], [], []
    for rank, places in picked.items():
        for place in places:
            position, score = scores[place]
            sample = images[position]
            height, width = sample.image.shape[-2:]
            density = predict(sample.image[None], (height, width), [sample.name]).exp()
            size = _shrunk_size(height, width)
            pictures.append(_resize_to_uint8(sample.image, size).transpose(1, 2, 0))
            truths.append(_resize_to_uint8(_divide_by_maximum(sample.density[None]), size)[0])
            predictions.append(_resize_to_uint8(_divide_by_maximum(density), size)[0])
            points = (sample.points.numpy() + 0.5) / (sample.size[1], sample.size[0])
            row = {"name": sample.name, "rank": rank, "nss": score}
            about.append({**row, "fixations": points.round(4).tolist()})
    if about:
        arrays: dict[str, NDArray[Any]] = {
            "image": np.stack(pictures),
            "truth": np.stack(truths),
            "prediction": np.stack(predictions),
            "about": np.array(json.dumps(about)),
        }
        store.save_arrays(file, arrays)


def _shrunk_size(height: int, width: int) -> tuple[int, int]:
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    return max(round(height * shrink), 1), max(round(width * shrink), 1)


def _divide_by_maximum(density: Float[Tensor, "1 H W"]) -> Float[Tensor, "1 H W"]:
    return density / density.max().clamp_min(torch.finfo(torch.float32).tiny)


def _resize_to_uint8(picture: Float[Tensor, "c H W"], size: tuple[int, int]) -> NDArray[np.uint8]:
    shrunk = nn.functional.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
    return np.asarray((shrunk.clamp(0, 1) * 255).round().byte().numpy())
