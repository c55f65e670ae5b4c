"""From the files of a release to a data set: what is missing, foreign, off the image or too few.

Every loader says where things lie and how coordinates become 0-based pixels; this is the rest.
A coordinate that is not finite or lies off its image is dropped, counted in
`SaliencyDataset.dropped` and logged, never moved onto the image.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.datasets.card import DatasetCard
from deepsal.data.image_files import image_size, read_image

OFF_IMAGE, NOT_A_NUMBER = "off the image", "not a number"

_logger = logging.getLogger(__name__)


def existing_path(path: Path, card: DatasetCard) -> Path:
    """Return the path if it is there.

    Raises:
        FileNotFoundError: it is not; the message says which option to set.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"no {card.title} here: {path} is missing; set data_dir=FOLDER (or DEEPSAL_DATA) to "
            f"the folder that holds {card.name}/, or use data=popout, which needs no files"
        )
    return path


def list_images(folder: Path, pattern: str) -> list[Path]:
    """Return the images of a folder in order, without what a Mac or a browser left there."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def list_folders(folder: Path) -> list[Path]:
    """Return the folders of a folder in order, without the hidden ones that releases have."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


@contextmanager
def wrap_read_errors(file: Path, title: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a ValueError that names the file.

    scipy and h5py raise half a dozen types for a file that is not theirs.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{file} is not a fixation file of {title}: {error!r}") from error


def read_stimulus(
    path: Path,
    trains: Sequence[NDArray[np.float64]],
    card: DatasetCard,
    dropped: Counter[str],
    name: str | None = None,
) -> Stimulus:
    """Return an image with the fixations that lie on it, and count those that do not.

    Args:
        path: the image.
        trains: (n, 2) points (x, y) of each subject, pixel centres at integers.
        card: for the error.
        dropped: is added to.
        name: what to call it, by default the file's name.

    Raises:
        FileNotFoundError: the image is missing.
        ValueError: it is unreadable.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{card.title} is incomplete: {path} is missing; get the release again"
        )
    size = image_size(path)
    points, subjects = fixations_on_image(trains, size, dropped)
    return Stimulus(name or path.name, size, points, subjects, partial(read_image, path))


def fixations_on_image(
    trains: Sequence[NDArray[np.float64]], size: tuple[int, int], dropped: Counter[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the points on an image of (height, width) and who made them; count the others."""
    points = np.concatenate([np.empty((0, 2)), *trains])
    subjects = np.repeat(np.arange(len(trains)), [len(train) for train in trains])
    finite = np.isfinite(points).all(1)
    on = finite & (points >= -0.5).all(1) & (points < (size[1] - 0.5, size[0] - 0.5)).all(1)
    dropped.update({NOT_A_NUMBER: int((~finite).sum()), OFF_IMAGE: int((finite & ~on).sum())})
    return points[on], subjects[on]


def build_dataset(
    card: DatasetCard,
    stimuli: Sequence[Stimulus],
    splits: Mapping[str, Sequence[int]],
    dropped: Counter[str],
    file: Path,
    whole: bool = True,
) -> SaliencyDataset:
    """Return the data set if it is all there.

    Args:
        card: its name, blur and expected counts.
        stimuli: its images.
        splits: see `SaliencyDataset`.
        dropped: how many fixations were left out, by reason.
        file: where the fixations were read.
        whole: refuse counts that are not the release's; False accepts a partial copy.

    Raises:
        ValueError: the counts are not those of the release.
    """
    total = sum(len(s.fixations) for s in stimuli) + dropped[OFF_IMAGE] + dropped[NOT_A_NUMBER]
    expected = card.images, card.fixations or total
    if whole and (len(stimuli), total) != expected:
        raise ValueError(
            f"{file} holds {len(stimuli)} images and {total} fixations, the release has "
            f"{expected[0]} and {expected[1]}; fetch it again"
        )
    log_dropped_fixations(card.title, dropped)
    return SaliencyDataset(
        card.title, stimuli, splits, card.sigma, card.degree, dropped=dict(+dropped)
    )


def log_dropped_fixations(title: str, dropped: Counter[str]) -> None:
    """Log how many fixations were left out and why."""
    for reason, count in (+dropped).items():
        _logger.info("%s: left out %d fixations: %s", title, count, reason)


def images_only_dataset(
    card: DatasetCard, images: Sequence[Path], names: Sequence[str], whole: bool = True
) -> SaliencyDataset:
    """Return the images of a benchmark that keeps the fixations, all of them as test.

    Raises:
        ValueError: there are not as many as in the release.
    """
    if whole and len(images) != card.images:
        raise ValueError(
            f"{card.title} has {card.images} images, here are {len(images)}; get the release again"
        )
    stimuli = [
        read_stimulus(image, [], card, Counter(), name)
        for image, name in zip(images, names, strict=True)
    ]
    splits: dict[str, Sequence[int]] = {"train": [], "val": [], "test": range(len(stimuli))}
    return SaliencyDataset(card.title, stimuli, splits, card.sigma, card.degree, hidden=True)


def split_positions(order: Sequence[int], test: int, val: int) -> dict[str, list[int]]:
    """Return `test` first, then `val`, and the rest as train.

    >>> split_positions([4, 2, 0, 1, 3], test=1, val=2)
    {'train': [1, 3], 'val': [2, 0], 'test': [4]}
    """
    first = list(order)
    return {"train": first[test + val :], "val": first[test : test + val], "test": first[:test]}
