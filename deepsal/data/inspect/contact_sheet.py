"""Contact sheets: a data set at a glance, to see that its points lie where they should."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.popout.search_array import Array

COLUMNS, BOX, GAP, LINE = 6, (240, 180), 8, 18
PAPER, INK = "white", "#333333"
DOTS = ("#ff7f0e", "#1f9e89", "#e7298a", "#5e81f4", "#c5b000", "#b07aa1", "#4fb7e0", "#8c6d31")


def sheet(dataset: SaliencyDataset, images: int = 24) -> Image.Image:
    """Return images from all over a data set with their fixations, a colour per person."""
    count = min(images, len(dataset.stimuli))
    places = np.linspace(0, len(dataset.stimuli) - 1, count).round().astype(int)
    shown = [dataset.stimuli[place] for place in places]
    captions = [f"{s.name}: {len(s.fixations)}" for s in shown]
    return _grid([_fixated(s) for s in shown], captions, f"{dataset.name}, {count} images")


def arrays_sheet(arrays: Sequence[Array], columns: int) -> Image.Image:
    """Return search arrays in rows of `columns`."""
    pictures = [Image.fromarray(a.draw().permute(1, 2, 0).numpy()) for a in arrays]
    captions = [f"{a.feature} {a.contrast:.2f}" for a in arrays]
    return _grid([_fitted(p)[0] for p in pictures], captions, f"{len(arrays)} arrays", columns)


def save(picture: Image.Image, to: Path) -> None:
    """Write a PNG file, whole or not at all."""
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.partial")
    try:
        picture.save(partial, format="PNG", optimize=True)
        os.replace(partial, to)
    finally:
        partial.unlink(missing_ok=True)


def _fitted(picture: Image.Image) -> tuple[Image.Image, float]:
    """Return a picture as large as the box allows, and by how much it was scaled."""
    scale = min(BOX[0] / picture.width, BOX[1] / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BOX), scale


def _fixated(stimulus: Stimulus) -> Image.Image:
    picture, scale = _fitted(Image.fromarray(stimulus.read().permute(1, 2, 0).numpy()))
    pen = ImageDraw.Draw(picture)
    for (x, y), person in zip((stimulus.fixations + 0.5) * scale, stimulus.subjects, strict=True):
        colour = DOTS[int(person) % len(DOTS)]
        pen.ellipse((x - 2.5, y - 2.5, x + 1.5, y + 1.5), colour, "black")
    return picture


def _grid(
    pictures: Sequence[Image.Image], captions: Sequence[str], title: str, columns: int = COLUMNS
) -> Image.Image:
    rows = -(-len(pictures) // columns)
    width, height = BOX[0] + GAP, BOX[1] + LINE + GAP
    canvas = Image.new("RGB", (columns * width + GAP, rows * height + LINE + GAP), PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    pen.text((GAP, 3), title, INK, font)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = GAP + i % columns * width, LINE + GAP + i // columns * height
        left, top = x + (BOX[0] - picture.width) // 2, y + (BOX[1] - picture.height) // 2
        canvas.paste(picture, (left, top))
        pen.text((x, y + BOX[1] + 1), caption[-36:], INK, font)
    return canvas
