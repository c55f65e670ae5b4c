"""Search arrays with one odd item, drawn on the fly: saliency data without a download.

In the manner of the psychophysics of feature contrast: a target differs from its distractors in
colour or in orientation. Fixations are *drawn from a stated density*, not recorded from people:
they follow the target by construction. Everything follows from (seed, index).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from deepsal.data.sample import SaliencyDataset, Stimulus

FEATURES = ("colour", "orientation")
SUPERSAMPLE = 4
COLOURS = np.array([[214, 73, 51], [46, 139, 87], [58, 107, 201], [222, 165, 33], [146, 84, 176]])


def popout(
    images: Sequence[int] = (240, 40, 40),
    size: Sequence[int] = (192, 256),
    features: Sequence[str] = FEATURES,
    fixations: int = 60,
    seed: int = 0,
) -> SaliencyDataset:
    """Generate singleton search arrays and fixations on them.

    Args:
        images: how many train, val and test images.
        size: (height, width) in pixels.
        features: in what targets differ: colour, orientation; used in turn.
        fixations: how many per image: 65 % around the target (sd 2.5 % of the width), 25 % centre
            bias (sd 22 % of each side), 10 % anywhere.
        seed: image i depends on (seed, i) alone.

    Raises:
        ValueError: an unknown feature.
    """
    if unknown := [feature for feature in features if feature not in FEATURES]:
        raise ValueError(f"unknown features {unknown}; the choices are {list(FEATURES)}")
    height, width = size
    stimuli = []
    for index in range(sum(images)):
        feature = features[index % len(features)]
        array = _Array(seed, index, feature, (height, width))
        points = array.fixations(fixations)
        subjects = np.zeros(len(points), dtype=np.int64)
        name = f"{feature}-{index:04d}"
        stimuli.append(Stimulus(name, (height, width), points, subjects, partial(array.draw)))
    train, val, test = images
    splits = {
        "train": range(train),
        "val": range(train, train + val),
        "test": range(train + val, train + val + test),
    }
    return SaliencyDataset(f"pop-out (seed {seed})", stimuli, splits, sigma=width / 32)


class _Array:
    """One search array: a jittered grid of bars, one of them odd."""

    def __init__(self, seed: int, index: int, feature: str, size: tuple[int, int]) -> None:
        self.size = size
        self.random = np.random.default_rng((seed, index))
        height, width = size
        rows = int(self.random.integers(4, 7))
        columns = round(rows * width / height)
        self.pitch = width / columns
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) + 0.5
        jitter = self.random.uniform(-0.18, 0.18, (2, rows * columns))
        self.x, self.y = (x + jitter[0]) * self.pitch, (y + jitter[1]) * height / rows
        self.target = int(self.random.integers(rows * columns))
        self.background = int(self.random.integers(105, 150))
        base, odd = self.random.permutation(len(COLOURS))[:2]
        self.colours = np.repeat(COLOURS[base][None], rows * columns, axis=0)
        self.angles = np.full(rows * columns, self.random.uniform(0, np.pi))
        self.angles += self.random.normal(0, 0.05, rows * columns)
        if feature == "colour":
            self.colours[self.target] = COLOURS[odd]
        else:
            self.angles[self.target] += self.random.uniform(np.pi / 4, 3 * np.pi / 4)

    def draw(self) -> Tensor:
        height, width = self.size
        scale = SUPERSAMPLE
        grey = (self.background,) * 3
        canvas = Image.new("RGB", (width * scale, height * scale), grey)
        pen = ImageDraw.Draw(canvas)
        length, breadth = 0.3 * self.pitch * scale, 0.09 * self.pitch * scale
        corners = np.array([[-length, -breadth], [length, -breadth], [length, breadth]])
        corners = np.concatenate([corners, [[-length, breadth]]])
        for x, y, angle, colour in zip(self.x, self.y, self.angles, self.colours, strict=True):
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            polygon = corners @ turn + (x * scale, y * scale)
            pen.polygon([(float(a), float(b)) for a, b in polygon], fill=tuple(colour.tolist()))
        small = canvas.resize((width, height), Image.Resampling.BOX)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()

    def fixations(self, count: int) -> NDArray[np.float64]:
        height, width = self.size
        extent = np.array([width, height])
        target = np.array([self.x[self.target], self.y[self.target]])
        kind = self.random.choice(3, size=(count, 1), p=[0.65, 0.25, 0.10])
        near = self.random.normal(target, 0.025 * width, (count, 2))
        central = self.random.normal(extent / 2, 0.22 * extent, (count, 2))
        anywhere = self.random.uniform(0, extent, (count, 2))
        points: NDArray[np.float64] = np.choose(kind, [near, central, anywhere]) - 0.5
        inside = (points >= -0.5).all(1) & (points < extent - 0.5).all(1)
        return points[inside]
