"""One picture of what a run did to the receptive fields."""

import os
from pathlib import Path

from deepsal.rf import store
from deepsal.rf.plot import grid


def draw_field_change(folder: Path, title: str) -> Path | None:
    """Draw the first and the last stored fields of every stage: `figures/change.png`.

    Args:
        folder: the run folder.
        title: what was trained on what.

    Returns:
        The picture, or None where the run stored fewer than two sets of fields.
    """
    files = sorted((folder / "fields").glob("epoch=*.npz"))
    if len(files) < 2:
        return None
    stages = store.load_description(files[-1])["stages"]
    before, after = (
        {stage: store.load_fields(file, f"{stage}/centred").field for stage in stages}
        for file in (files[0], files[-1])
    )
    labels = tuple(
        f"epoch {store.load_description(file)['epoch']}" for file in (files[0], files[-1])
    )
    smooth = {stage: about["sigma"] for stage, about in stages.items()}
    units = min(12, *(len(field) for field in after.values()))
    figure = grid.draw_field_change(before, after, (labels[0], labels[1]), title, smooth, units)
    picture = folder / "figures" / "change.png"
    partial = picture.with_name(".change.partial")
    partial.write_bytes(grid.png_bytes(figure))
    os.replace(partial, picture)
    return picture
