"""Pop-out data set: generated search arrays with one odd item, without a download.

As in the psychophysics of feature contrast, a target differs from its distractors in one feature,
by a stated contrast. Fixations are *drawn from a stated density*, not recorded from people: they
follow the target by construction. All arrays are functions of (seed, index).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.datasets.reading import splits_by_option
from deepsal.data.popout.features import POPOUT_FEATURES
from deepsal.data.popout.search_array import ArrayOptions, SearchArray

TARGET_CONTRASTS = (1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1.0)


def popout_dataset(
    images: Sequence[int] = (240, 40, 40),
    size: Sequence[int] = (192, 256),
    features: Sequence[str] = ("colour", "orientation"),
    fixations: int = 60,
    seed: int = 0,
    contrasts: Sequence[float] | None = None,
    rows: Sequence[int] = (4, 6),
    jitter: float = 0.18,
    background: Sequence[int] = (105, 149),
    split: str | None = None,
) -> SaliencyDataset:
    """Generate search arrays with one target, and fixations on them.

    Args:
        images: number of train, val and test images.
        size: (height, width) in pixels.
        features: of the targets, used in turn: any of `POPOUT_FEATURES`.
        fixations: number per image: 65 % around the target (sd 2.5 % of the width), 25 % centre
            bias (sd 22 % of each side), 10 % anywhere.
        seed: image i depends only on (seed, i).
        contrasts: of the target, in (0, 1], used in turn after each round of features; None for
            another colour of five, or an angle of 45° to 135°, at random.
        rows: the least and the most rows of items; the columns follow from the proportions.
        jitter: largest shift of an item, as a fraction of the grid's pitch.
        background: the darkest and the lightest grey of the background, 0 to 255.
        split: `all` or `val`: which images are the test images; None for the numbers of `images`.

    Raises:
        ValueError: an unknown feature, a feature without a contrast, or an option out of range.
    """
    options = ArrayOptions((int(size[0]), int(size[1])), tuple(rows), jitter, tuple(background))
    stimuli = []
    for index in range(sum(images)):
        feature = features[index % len(features)]
        contrast = contrasts[index // len(features) % len(contrasts)] if contrasts else None
        array = SearchArray(seed, index, feature, options, contrast)
        stimuli.append(_array_stimulus(array, f"{feature}-{index:04d}", fixations))
    train, val, test = images
    own = {
        "train": range(train),
        "val": range(train, train + val),
        "test": range(train + val, train + val + test),
    }
    splits = splits_by_option(split, len(stimuli), lambda: own)
    return SaliencyDataset(f"pop-out (seed {seed})", stimuli, splits, sigma=size[1] / 32)


def popout_test_arrays(
    features: Sequence[str] = tuple(POPOUT_FEATURES),
    contrasts: Sequence[float] = TARGET_CONTRASTS,
    repeats: int = 1,
    size: Sequence[int] = (192, 256),
    seed: int = 0,
) -> list[SearchArray]:
    """Return an array for every feature at every contrast, whose masks are computable.

    15 features at 7 contrasts, as in SID4VAM (Berga et al. 2019, ICCV). The items of array i of a
    feature have the same positions at all contrasts, so that only the contrast differs.

    >>> tests = popout_test_arrays()
    >>> len(tests), tests[0].feature, round(tests[0].contrast, 3)
    (105, 'colour', 0.143)
    """
    options = ArrayOptions((int(size[0]), int(size[1])))
    return [
        SearchArray(seed, number * repeats + repeat, feature, options, contrast)
        for number, feature in enumerate(features)
        for contrast in contrasts
        for repeat in range(repeats)
    ]


def _array_stimulus(array: SearchArray, name: str, count: int) -> Stimulus:
    points = array.sample_fixations(count)
    observers = np.zeros(len(points), dtype=np.int64)
    render, masks = partial(array.render_image), partial(array.target_and_distractor_masks)
    return Stimulus(name, array.options.size, points, observers, render, target_masks=masks)
