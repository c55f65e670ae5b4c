from pathlib import Path

import pytest
from PIL import Image

from deepsal.report.figures.change import draw_field_change
from deepsal.rf import store
from tests.report.support import random_fields, write_two_checkpoints


def saved(folder: Path, epoch: int, scale: float) -> None:
    stages = {"conv4": {"sigma": 1.0}, "conv5": {"sigma": 0.0}}
    some = {
        f"{stage}/{kind}": random_fields(scale)
        for stage in stages
        for kind in ("centred", "strongest")
    }
    about = {"epoch": epoch, "stages": stages, "sources": ["centred", "strongest"]}
    store.save_fields(folder / "fields" / f"epoch={epoch:03d}.npz", some, about)


def test_the_first_and_the_last_checkpoint_become_one_picture(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for epoch in (0, 2, 4):
        saved(tmp_path, epoch, float(epoch))
    picture = draw_field_change(tmp_path, "toy on pop-out")
    assert picture == tmp_path / "figures" / "change.png"
    with Image.open(picture) as image:
        assert image.size[0] > 400
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["change.png"]


def test_a_run_without_fields_has_no_picture(tmp_path: Path) -> None:
    assert draw_field_change(tmp_path, "") is None
    saved(tmp_path, 0, 0.0)
    assert draw_field_change(tmp_path, "") is None


@pytest.mark.parametrize("source", ["centred", "strongest", "blank"])
def test_the_figure_is_of_the_first_source(source: str, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    write_two_checkpoints(tmp_path, (source,))
    assert draw_field_change(tmp_path, "toy on pop-out") == tmp_path / "figures" / "change.png"
