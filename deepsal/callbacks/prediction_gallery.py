"""Gallery of a test's best, middle and worst predictions, for the report page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.data.batch import FixationImages
from deepsal.rf import store
from deepsal.training.task import DensityPredictor

IMAGES_PER_RANK = 3
"""Number of best images, of middle ones and of worst ones."""
LONGEST_SIDE = 320
"""Longest side of a stored image, pixels."""


def best_median_worst(
    values: Sequence[float], per_rank: int = IMAGES_PER_RANK
) -> dict[str, list[int]]:
    """Return the positions of the best, the middle and the worst scores, no position twice.

    Scores that are not finite are left out. Where there are too few scores, the middle ones are
    dropped first, then the worst.

    Args:
        values: scores; a higher one is better.
        per_rank: number of positions of each rank.

    >>> best_median_worst([0.5, 3.0, 1.0, 2.0, float("nan"), 0.1], per_rank=1)
    {'best': [1], 'median': [2], 'worst': [5]}
    """
    order = sorted((i for i, v in enumerate(values) if np.isfinite(v)), key=lambda i: -values[i])
    per_rank = min(per_rank, -(-len(order) // 3))
    best = order[:per_rank]
    worst = order[per_rank:][-per_rank:]
    middle = order[per_rank : len(order) - len(worst)]
    start = max((len(middle) - per_rank) // 2, 0)
    return {"best": best, "median": middle[start : start + per_rank], "worst": worst}


def write_gallery(
    file: Path,
    predict: DensityPredictor,
    images: FixationImages,
    scores: Sequence[tuple[int, float]],
) -> None:
    """Write the best, middle and worst test images by NSS to one file, predicted once more.

    The n-th one has the arrays `image/n` (h, w, 3), `truth/n` and `prediction/n` (h, w), uint8;
    each map is divided by its own maximum. `about` is a JSON list of name, rank, NSS and fixations,
    which are (x, y) in fractions of the image. No file is written if no score is finite.
    Predictions are of the size that was scored.

    Args:
        file: the `.npz` file.
        predict: the predictor that was scored.
        images: the test images.
        scores: (position in `images`, NSS) of every scored image.
    """
    about: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for rank, places in best_median_worst([score for _, score in scores]).items():
        for place in places:
            position, score = scores[place]
            sample = images[position]
            height, width = sample.size
            names, region = [sample.name], sample.region
            density = predict(sample.image[None], (height, width), names, region).exp()
            image = sample.image[(..., *region.slices())] if region else sample.image
            size = _shrunk_size(height, width)
            number = len(about)
            arrays[f"image/{number}"] = _resize_to_uint8(image, size).transpose(1, 2, 0)
            for name, map_ in ("truth", sample.density[None]), ("prediction", density):
                arrays[f"{name}/{number}"] = _resize_to_uint8(_divide_by_maximum(map_), size)[0]
            points = (sample.points.numpy() + 0.5) / (sample.size[1], sample.size[0])
            row = {"name": sample.name, "rank": rank, "nss": score}
            about.append({**row, "fixations": points.round(4).tolist()})
    if about:
        store.save_arrays(file, {**arrays, "about": np.array(json.dumps(about))})


def _shrunk_size(height: int, width: int) -> tuple[int, int]:
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    return max(round(height * shrink), 1), max(round(width * shrink), 1)


def _divide_by_maximum(density: Float[Tensor, "1 H W"]) -> Float[Tensor, "1 H W"]:
    return density / density.max().clamp_min(torch.finfo(torch.float32).tiny)


def _resize_to_uint8(image: Float[Tensor, "c H W"], size: tuple[int, int]) -> NDArray[np.uint8]:
    shrunk = nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return np.asarray((shrunk.clamp(0, 1) * 255).round().byte().numpy())
