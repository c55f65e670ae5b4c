"""One hundred predictions with fixations, the same in every environment: numpy and scipy only."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.ndimage import gaussian_filter

Image = NDArray[np.float64]
Points = NDArray[np.int64]

KINDS = ("random", "sparse", "constant", "tied")
SIZE = (64, 128)  # 2^13 pixels: the mean of a constant map is exact
OSIE_SIZE = (600, 800)
SIGMA = 24.0
IMAGES = 120
PREDICTING, PREDICTED = range(8), range(8, 15)


class Case(NamedTuple):
    """A prediction, its truth, points (x, y) here and on other images, and a baseline."""

    name: str
    prediction: Image
    truth: Image
    points: Points
    others: Points
    baseline: Image


def synthetic() -> Iterator[Case]:
    """Yield 12 predictions of each kind; RandomState's streams never change."""
    for kind in KINDS:
        for i in range(12):
            yield _synthetic(kind, np.random.RandomState(i), f"{kind}-{i:02}")


def osie(folder: str | Path) -> Iterator[Case]:
    """Yield 26 images of OSIE, each predicted by the centre map and by 8 other subjects."""
    images = fixations(folder)
    for i in range(26):
        yield osie_case(images, i, "centre")
        yield osie_case(images, i, "subjects")


def osie_case(images: list[list[Points]], i: int, prediction: str, sigma: float = SIGMA) -> Case:
    """Return image i: 7 subjects predicted by 8 others, or by the other images' fixations."""
    points = np.concatenate([images[i][s] for s in PREDICTED])
    others = np.concatenate([images[j][s] for j in range(len(images)) if j != i for s in PREDICTED])
    centre = _centre(others.tobytes(), sigma)
    subjects = np.concatenate([images[i][s] for s in PREDICTING])
    predicted = centre if prediction == "centre" else density(subjects, sigma)
    return Case(
        f"osie-{i:03}-{prediction}", predicted, density(points, sigma), points, others, centre
    )


def fixations(folder: str | Path) -> list[list[Points]]:
    """Read the first 120 images of OSIE: `[image][subject]` → pixels (x, y) on the image."""
    file = Path(folder) / "osie" / "data" / "eye" / "fixations.mat"
    cells: Any = loadmat(file, squeeze_me=True, struct_as_record=False)["fixations"]
    return [[_pixels(subject) for subject in cell.subjects] for cell in cells[:IMAGES]]


def counts(points: Points, size: tuple[int, int] = OSIE_SIZE) -> Image:
    """Return the number of points on each pixel."""
    image = np.zeros(size)
    np.add.at(image, (points[:, 1], points[:, 0]), 1)
    return image


def density(points: Points, sigma: float) -> Image:
    """Return points blurred to a density; the tails of far pixels stay above 0."""
    down, across = (_gaussian(n, sigma) for n in OSIE_SIZE)
    if len(points) < OSIE_SIZE[0]:
        smooth = down[:, points[:, 1]] @ across[points[:, 0]] + 1e-14
    else:
        smooth = down @ counts(points) @ across + 1e-14
    return np.asarray(smooth / smooth.sum())


@lru_cache(maxsize=400)
def _centre(points: bytes, sigma: float) -> Image:
    return density(np.frombuffer(points, dtype=np.int64).reshape(-1, 2), sigma)


@lru_cache
def _gaussian(n: int, sigma: float) -> Image:
    at = np.arange(n)
    kernel: Image = np.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    return kernel


def data_dir() -> str | None:
    """Return the folder that holds osie/, if one was named."""
    return os.environ.get("DEEPSAL_DATA")


def _pixels(subject: Any) -> Points:
    x, y = (np.atleast_1d(axis).astype(float) - 1 for axis in (subject.fix_x, subject.fix_y))
    return np.stack([np.floor(x + 0.5), np.floor(y + 0.5)], axis=1).astype(np.int64)


def _synthetic(kind: str, random: np.random.RandomState, name: str) -> Case:
    smooth = gaussian_filter(random.standard_normal(SIZE), 4)
    values = np.exp(8 * smooth + random.standard_normal(SIZE) * 0.2)
    if kind == "sparse":
        values *= random.random_sample(SIZE) < 0.05
    elif kind == "constant":
        values = np.ones(SIZE)
    elif kind == "tied":
        values = np.ceil(5 * (values / values.max()))
    truth = np.exp(12 * gaussian_filter(random.standard_normal(SIZE), 5))
    baseline = 0.1 + random.random_sample(SIZE)
    seen = truth * (values > 0) if random.random_sample() < 0.5 else truth
    points, others = _drawn(seen, 60, random), _drawn(baseline, 3000, random)
    images = (image / image.sum() for image in (values, truth, baseline))
    prediction, truth, baseline = images
    return Case(name, prediction, truth, points, others, baseline)


def _drawn(weights: Image, count: int, random: np.random.RandomState) -> Points:
    at = random.choice(weights.size, count, p=(weights / weights.sum()).ravel())
    return np.stack([at % SIZE[1], at // SIZE[1]], axis=1).astype(np.int64)
