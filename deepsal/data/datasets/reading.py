"""Steps that the readers of published data sets share, with their checks.

A reader states which files hold the data and how coordinates become 0-based pixels. The functions
here do the rest. A coordinate that is not finite or lies off its image is dropped, counted in
`SaliencyDataset.dropped` and logged. It is never moved onto the image.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.datasets.card import DatasetCard
from deepsal.data.image_files import image_size, read_image

OFF_IMAGE, NOT_A_NUMBER = "off the image", "not a number"

_logger = logging.getLogger(__name__)


def existing_path(path: Path, card: DatasetCard) -> Path:
    """Return the path after a check that it exists.

    Raises:
        FileNotFoundError: it does not exist; the message names the option to set.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"no {card.title} here: {path} is missing; set data_dir=FOLDER (or DEEPSAL_DATA) to "
            f"the folder that holds {card.name}/, or use data=popout, which needs no files"
        )
    return path


def list_images(folder: Path, pattern: str) -> list[Path]:
    """Return the images of a folder in order, without the hidden files of macOS and browsers."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def list_folders(folder: Path) -> list[Path]:
    """Return the folders of a folder in order, without the hidden ones that releases have."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


@contextmanager
def wrap_read_errors(file: Path, title: str) -> Iterator[None]:
    """Turn any error inside the block into a ValueError that names the file.

    scipy and h5py raise half a dozen types for a file of another kind.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{file} is not a fixation file of {title}: {error!r}") from error


def check_image_size(
    image: Path, size: tuple[int, int], stated: tuple[int, ...], file: Path
) -> None:
    """Compare an image's (height, width) with the one that a file of fixations states.

    Raises:
        ValueError: they differ; the message names the image and the file.
    """
    if size != stated:
        raise ValueError(f"{image} has (height, width) {size}, but {file} says {stated}")


def read_stimulus(
    path: Path,
    points_by_observer: Sequence[NDArray[np.float64]],
    card: DatasetCard,
    dropped: Counter[str],
    name: str | None = None,
) -> Stimulus:
    """Return an image with the fixations that lie on it, and count the others.

    Args:
        path: the image.
        points_by_observer: (n, 2) points (x, y) of each observer, pixel centres at integers.
        card: for the error.
        dropped: counts by reason; the image's are added.
        name: the stimulus's name, by default the file's.

    Raises:
        FileNotFoundError: the image is missing.
        ValueError: it is unreadable.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{card.title} is incomplete: {path} is missing; get the release again"
        )
    size = image_size(path)
    points, observers = fixations_on_image(points_by_observer, size, dropped)
    return Stimulus(name or path.name, size, points, observers, partial(read_image, path))


def fixations_on_image(
    points_by_observer: Sequence[NDArray[np.float64]],
    size: tuple[int, int],
    dropped: Counter[str],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the points on an image of (height, width), and the observer of each point.

    The other points are counted in `dropped`.
    """
    points = np.concatenate([np.empty((0, 2)), *points_by_observer])
    counts = [len(own_points) for own_points in points_by_observer]
    observers = np.repeat(np.arange(len(counts)), counts)
    finite = np.isfinite(points).all(1)
    on = finite & (points >= -0.5).all(1) & (points < (size[1] - 0.5, size[0] - 0.5)).all(1)
    dropped.update({NOT_A_NUMBER: int((~finite).sum()), OFF_IMAGE: int((finite & ~on).sum())})
    return points[on], observers[on]


def build_dataset(
    card: DatasetCard,
    stimuli: Sequence[Stimulus],
    splits: Mapping[str, Sequence[int]],
    dropped: Counter[str],
    file: Path,
    check_counts: bool = True,
    split: str | None = None,
) -> SaliencyDataset:
    """Return the data set after a check of its counts, and log the dropped fixations.

    Args:
        card: its name, blur and expected counts.
        stimuli: its images.
        splits: see `SaliencyDataset`.
        dropped: number of dropped fixations by reason.
        file: the file or folder that holds the fixations.
        check_counts: refuse counts that are not the release's; False accepts a partial copy.
        split: the option of the loader, see `splits_by_option`; None for `splits`.

    Raises:
        ValueError: the counts or the sizes are not those of the release, too many fixations lie
            off their images, or `split` is unknown.
    """
    total = sum(len(s.fixations) for s in stimuli) + dropped[OFF_IMAGE] + dropped[NOT_A_NUMBER]
    expected = card.images, card.fixations or total
    if check_counts and (len(stimuli), total) != expected:
        raise ValueError(
            f"{file} holds {len(stimuli)} images and {total} fixations, the release has "
            f"{expected[0]} and {expected[1]}; fetch it again"
        )
    check_sizes(card, stimuli)
    if card.size is None and card.longest_side is None:
        check_off_image_share(card.title, dropped[OFF_IMAGE], total, card.off_image_limit)
    log_dropped_fixations(card.title, dropped)
    chosen = splits_by_option(split, len(stimuli), lambda: splits)
    return SaliencyDataset(
        card.title, stimuli, chosen, card.sigma, card.pixels_per_degree, dropped=dict(+dropped)
    )


def check_sizes(card: DatasetCard, stimuli: Sequence[Stimulus]) -> None:
    """Compare the sizes of all images with those of the release.

    Raises:
        ValueError: an image has another size, as in a resized copy; fixations are in pixels of the
            release's images.
    """
    for stimulus in stimuli:
        height, width = stimulus.size
        stated = None
        if card.size is not None and stimulus.size != card.size:
            stated = f"are {card.size[1]}x{card.size[0]}"
        elif card.longest_side is not None and max(stimulus.size) != card.longest_side:
            stated = f"have a longest side of {card.longest_side}"
        if stated:
            raise ValueError(
                f"{card.title}: {stimulus.name} is {width}x{height}, but the images of the release "
                f"{stated} pixels; this is a resized copy, get the release again"
            )


def check_off_image_share(title: str, off: int, total: int, limit: float, option: str = "") -> None:
    """Check that most fixations lie on their images.

    Raises:
        ValueError: their share is above the limit, as in a resized copy of the images.
    """
    if off > limit * total:
        raise ValueError(
            f"{title}: {off} of {total} fixations ({off / total:.1%}) lie off their images, more "
            f"than {limit:.0%}: the images are resized, or the coordinates are in another unit or "
            "exchanged" + (f"; to accept them, set {option}=SHARE" if option else "")
        )


def log_dropped_fixations(title: str, dropped: Counter[str]) -> None:
    """Log the number of dropped fixations for each reason."""
    for reason, count in (+dropped).items():
        _logger.info("%s: left out %d fixations: %s", title, count, reason)


def images_only_dataset(
    card: DatasetCard,
    images: Sequence[Path],
    names: Sequence[str],
    check_counts: bool = True,
    split: str | None = None,
) -> SaliencyDataset:
    """Return the images of a benchmark that does not publish its fixations, all of them as test.

    Raises:
        ValueError: their number or a size is not that of the release; or `split` is not all or
            None, because none of them are validation images.
    """
    if split not in (None, "all"):
        raise ValueError(
            f"data.dataset.split={split}: the images of {card.title} without fixations are all "
            "test images; set data.dataset.split=null"
        )
    if check_counts and len(images) != card.images:
        raise ValueError(
            f"{card.title} has {card.images} images, here are {len(images)}; get the release again"
        )
    stimuli = [
        read_stimulus(image, [], card, Counter(), name)
        for image, name in zip(images, names, strict=True)
    ]
    check_sizes(card, stimuli)
    splits = splits_by_option("all", len(stimuli), dict)
    return SaliencyDataset(
        card.title, stimuli, splits, card.sigma, card.pixels_per_degree, fixations_hidden=True
    )


def random_splits(
    count: int,
    seed: int,
    test: int | None = None,
    val: int | None = None,
    always_train: Sequence[int] = (),
) -> dict[str, list[int]]:
    """Split the positions of `count` images at random, in a way that the seed fixes.

    Args:
        count: number of images.
        seed: of the order; `test` images come first in it, then `val`, and the rest is train.
        test: number of test images; None for a tenth, at least one.
        val: number of validation images; None for a tenth, at least one.
        always_train: positions that belong to train, such as two copies of one picture.

    >>> random_splits(5, seed=0, test=1, val=2)
    {'train': [0, 1], 'val': [4, 3], 'test': [2]}
    """
    tenth = max(1, count // 10)
    test, val = (tenth if size is None else size for size in (test, val))
    order = np.random.default_rng(seed).permutation(count).tolist()
    order = [position for position in order if position not in always_train]
    train = [*order[test + val :], *always_train]
    return {"train": train, "val": order[test : test + val], "test": order[:test]}


def splits_by_option(
    split: str | None, count: int, splits: Callable[[], Mapping[str, Sequence[int]]]
) -> Mapping[str, Sequence[int]]:
    """Return the splits of `count` images that the option `split` demands.

    Args:
        split: `all`: every image is a test image; `val`: the validation images are the test images,
            and the test images are left out, so that options are chosen without them; None for the
            data set's own splits.
        count: the number of images.
        splits: function that returns the data set's own splits.

    Raises:
        ValueError: another choice, or there are no validation images.

    >>> splits_by_option("all", 2, lambda: {})
    {'train': [], 'val': [], 'test': [0, 1]}
    """
    if split not in (None, "all", "val"):
        raise ValueError(f"data.dataset.split={split}: the choices are all, val and null")
    if split == "all":
        return {"train": [], "val": [], "test": list(range(count))}
    chosen = splits()
    if not split:
        return chosen
    if not chosen["val"]:
        raise ValueError(
            "data.dataset.split=val: the data set has no validation images; set all or null"
        )
    return {"train": chosen["train"], "val": [], "test": chosen["val"]}


def read_nus_layout(data_dir: Path, card: DatasetCard) -> tuple[Path, list[Stimulus], Counter[str]]:
    """Read the layout that OSIE and EyeCrowd share.

    `NAME/data/stimuli/*.jpg`, and in `NAME/data/eye/fixations.mat` a cell per image with `.img`
    and `.subjects{}` of `.fix_x` and `.fix_y`, pixels counted from 1.

    Returns:
        The file of fixations, the stimuli, and the number of dropped fixations by reason.
    """
    root = data_dir / card.name / "data"
    file = existing_path(root / "eye" / "fixations.mat", card)
    with wrap_read_errors(file, card.title):
        cells = loadmat(file, squeeze_me=True, struct_as_record=False)["fixations"]
        images = [(str(cell.img), _nus_points_by_observer(cell)) for cell in cells]
    dropped: Counter[str] = Counter()
    stimuli = [read_stimulus(root / "stimuli" / name, p, card, dropped) for name, p in images]
    return file, stimuli, dropped


def _nus_points_by_observer(cell: Any) -> list[NDArray[np.float64]]:
    axes = [(np.atleast_1d(s.fix_x), np.atleast_1d(s.fix_y)) for s in cell.subjects]
    return [np.stack(xy, axis=1) - 1.0 for xy in axes]
