"""Contact sheets: a data set at a glance, to see that its points lie where they should."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.popout.search_array import SearchArray

SHEET_COLUMNS, IMAGE_BOX, CELL_GAP, CAPTION_HEIGHT = 6, (240, 180), 8, 18
BACKGROUND_COLOUR, TEXT_COLOUR = "white", "#333333"
OBSERVER_COLOURS = (
    "#ff7f0e",
    "#1f9e89",
    "#e7298a",
    "#5e81f4",
    "#c5b000",
    "#b07aa1",
    "#4fb7e0",
    "#8c6d31",
)


def fixation_sheet(dataset: SaliencyDataset, images: int = 24) -> Image.Image:
    """Return images from all over a data set with their fixations, a colour per person."""
    count = min(images, len(dataset.stimuli))
    places = np.linspace(0, len(dataset.stimuli) - 1, count).round().astype(int)
    shown = [dataset.stimuli[place] for place in places]
    captions = [f"{s.name}: {len(s.fixations)}" for s in shown]
    return _arrange_grid(
        [_draw_fixations(s) for s in shown], captions, f"{dataset.name}, {count} images"
    )


def search_array_sheet(arrays: Sequence[SearchArray], columns: int) -> Image.Image:
    """Return search arrays in rows of `columns`."""
    pictures = [Image.fromarray(a.draw().permute(1, 2, 0).numpy()) for a in arrays]
    captions = [f"{a.feature} {a.contrast:.2f}" for a in arrays]
    return _arrange_grid(
        [_fit_to_box(p)[0] for p in pictures], captions, f"{len(arrays)} arrays", columns
    )


def save_png(picture: Image.Image, to: Path) -> None:
    """Write a PNG file, whole or not at all."""
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.partial")
    try:
        picture.save(partial, format="PNG", optimize=True)
        os.replace(partial, to)
    finally:
        partial.unlink(missing_ok=True)


def _fit_to_box(picture: Image.Image) -> tuple[Image.Image, float]:
    """Return a picture as large as the box allows, and by how much it was scaled."""
    scale = min(IMAGE_BOX[0] / picture.width, IMAGE_BOX[1] / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BOX), scale


def _draw_fixations(stimulus: Stimulus) -> Image.Image:
    picture, scale = _fit_to_box(Image.fromarray(stimulus.read().permute(1, 2, 0).numpy()))
    pen = ImageDraw.Draw(picture)
    for (x, y), person in zip((stimulus.fixations + 0.5) * scale, stimulus.subjects, strict=True):
        colour = OBSERVER_COLOURS[int(person) % len(OBSERVER_COLOURS)]
        pen.ellipse((x - 2.5, y - 2.5, x + 1.5, y + 1.5), colour, "black")
    return picture


def _arrange_grid(
    pictures: Sequence[Image.Image],
    captions: Sequence[str],
    title: str,
    columns: int = SHEET_COLUMNS,
) -> Image.Image:
    rows = -(-len(pictures) // columns)
    width, height = IMAGE_BOX[0] + CELL_GAP, IMAGE_BOX[1] + CAPTION_HEIGHT + CELL_GAP
    canvas = Image.new(
        "RGB",
        (columns * width + CELL_GAP, rows * height + CAPTION_HEIGHT + CELL_GAP),
        BACKGROUND_COLOUR,
    )
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    pen.text((CELL_GAP, 3), title, TEXT_COLOUR, font)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = CELL_GAP + i % columns * width, CAPTION_HEIGHT + CELL_GAP + i // columns * height
        left, top = (
            x + (IMAGE_BOX[0] - picture.width) // 2,
            y + (IMAGE_BOX[1] - picture.height) // 2,
        )
        canvas.paste(picture, (left, top))
        pen.text((x, y + IMAGE_BOX[1] + 1), caption[-36:], TEXT_COLOUR, font)
    return canvas
