"""Contact sheets: images of a data set with their fixations on one page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepsal.atomic import replace_file
from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.popout.search_array import SearchArray

SHEET_COLUMNS = 6
IMAGE_BOX, CELL_GAP, CAPTION_HEIGHT = (240, 180), 8, 18
"""Sizes of a cell's parts in pixels; the box is (width, height)."""
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


def fixation_sheet(dataset: SaliencyDataset, image_count: int = 24) -> Image.Image:
    """Draw images at equal distances in a data set with their fixations, a colour per observer."""
    count = min(image_count, len(dataset.stimuli))
    positions = np.linspace(0, len(dataset.stimuli) - 1, count).round().astype(int)
    stimuli = [dataset.stimuli[position] for position in positions]
    captions = [f"{s.name}: {len(s.fixations)}" for s in stimuli]
    pictures = [_draw_fixations(s) for s in stimuli]
    return _arrange_grid(pictures, captions, f"{dataset.name}, {count} images")


def search_array_sheet(arrays: Sequence[SearchArray], columns: int) -> Image.Image:
    """Draw search arrays in rows of `columns`."""
    images = [Image.fromarray(a.render_image().permute(1, 2, 0).numpy()) for a in arrays]
    captions = [f"{a.feature} {a.contrast:.2f}" for a in arrays]
    pictures = [_fit_to_box(image)[0] for image in images]
    return _arrange_grid(pictures, captions, f"{len(arrays)} arrays", columns)


def save_png(picture: Image.Image, file: Path) -> None:
    """Write a PNG file, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(file) as partial:
        picture.save(partial, format="PNG", optimize=True)


def _fit_to_box(picture: Image.Image) -> tuple[Image.Image, float]:
    """Return a picture as large as the box allows, and its scale factor."""
    scale = min(IMAGE_BOX[0] / picture.width, IMAGE_BOX[1] / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BOX), scale


def _draw_fixations(stimulus: Stimulus) -> Image.Image:
    picture, scale = _fit_to_box(Image.fromarray(stimulus.read().permute(1, 2, 0).numpy()))
    pen = ImageDraw.Draw(picture)
    for (x, y), person in zip((stimulus.fixations + 0.5) * scale, stimulus.observers, strict=True):
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
    size = (columns * width + CELL_GAP, rows * height + CAPTION_HEIGHT + CELL_GAP)
    canvas = Image.new("RGB", size, BACKGROUND_COLOUR)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    pen.text((CELL_GAP, 3), title, TEXT_COLOUR, font)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = CELL_GAP + i % columns * width, CAPTION_HEIGHT + CELL_GAP + i // columns * height
        left, top = (IMAGE_BOX[0] - picture.width) // 2, (IMAGE_BOX[1] - picture.height) // 2
        canvas.paste(picture, (x + left, y + top))
        pen.text((x, y + IMAGE_BOX[1] + 1), caption[-36:], TEXT_COLOUR, font)
    return canvas
