"""Figure of the receptive fields before and after training."""

from pathlib import Path

from deepsal import atomic
from deepsal.report.run_folders import field_files
from deepsal.rf import store
from deepsal.rf.plot import grid, tile_board

MAX_UNITS = 12
"""Units of each stage in the figure, the first ones."""


def draw_field_change(folder: Path, title: str) -> Path | None:
    """Draw the first and the last stored fields of every stage: `figures/change.png`.

    The fields are those of the first patch source (`rf.sources`).

    Args:
        folder: the run folder.
        title: of the figure, such as the network and the data set.

    Returns:
        The file, or None where the run stored fewer than two sets of fields.
    """
    files = field_files(folder)
    if len(files) < 2:
        return None
    first, last = (store.load_description(file) for file in (files[0], files[-1]))
    smooth = {stage: details["sigma"] for stage, details in last["stages"].items()}
    ends, source = [files[0], files[-1]], last["sources"][0]
    fields = {
        stage: store.load_evolution(
            folder / "fields", f"{stage}/{source}", store.watched_units(last, stage), ends
        )
        for stage in smooth
    }
    before, after = ({stage: of.field[i] for stage, of in fields.items()} for i in (0, 1))
    target = store.target_reliability(last)
    reliability = {
        stage: tile_board.FieldReliability(of.reliability, of.samples, target, of.sample_name)
        for stage, of in fields.items()
    }
    labels = (f"epoch {first['epoch']}", f"epoch {last['epoch']}")
    units = min(MAX_UNITS, *(len(field) for field in after.values()))
    figure = grid.draw_field_change(before, after, labels, title, smooth, units, reliability)
    file = folder / "figures" / "change.png"
    with atomic.replace_file(file) as temporary:
        temporary.write_bytes(tile_board.png_bytes(figure))
    return file
