import re
from pathlib import Path

import pytest

from deepsal.report.figures import paper
from tests.report.support import write_fields, write_sweep


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The figures of a run of one stage."""
    folder = tmp_path_factory.mktemp("run")
    write_fields(folder, ("conv1",))
    return paper.write_paper_figures(folder)


def test_a_runs_figures_fit_a_column_or_a_page_and_embed_their_fonts(files: list[Path]) -> None:
    names = ["conv1-grid", "conv1-evolution", "conv1-profile", "stages"]
    assert [file.name for file in files] == [f"{n}.{k}" for n in names for k in ("pdf", "svg")]
    for file in files[::2]:
        raw = file.read_bytes()
        box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+) *\]", raw)
        assert box
        inches = float(box.group(1)) / 72
        assert inches == pytest.approx(paper.COLUMN_WIDTH) or inches == pytest.approx(
            paper.PAGE_WIDTH
        )
        assert b"/FontFile2" in raw, "TrueType, embedded"
        assert b"/Type3" not in raw
    assert "<text" not in files[1].read_text(), "letters are outlines: no font is needed"
    assert not list(files[0].parent.glob(".*"))


def test_the_same_run_gives_the_same_files(files: list[Path]) -> None:
    first = [file.read_bytes() for file in files]
    again = paper.write_paper_figures(files[0].parents[2])
    assert first == [file.read_bytes() for file in again]


def test_a_sweeps_figures_are_against_depth(tmp_path: Path) -> None:
    files = paper.write_paper_figures(write_sweep(tmp_path))
    names = [file.name for file in files if file.suffix == ".pdf"]
    fields = [f"depth-fields-{backbone}.pdf" for backbone in ("vgg16", "resnet50")]
    assert names == ["depth-scores.pdf", *fields]


def test_a_folder_with_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no fields/, no verdict\.json and no runs"):
        paper.write_paper_figures(tmp_path)
