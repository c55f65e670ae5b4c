import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from deepsal.metrics.scoring import DEFAULT_SCORES
from deepsal.report.tables import terminal
from deepsal.runs import score_files
from deepsal.vocabulary import TARGET_SCORES
from tests.report.support import write_noise_checkpoints, write_two_checkpoints


def printed(folder: Path) -> str:
    out = io.StringIO()
    terminal.print_summary(folder, Console(file=out, width=80, highlight=False))
    return out.getvalue()


def test_the_summary_of_a_run_fits_eighty_columns(tmp_path: Path) -> None:
    row = {f"{m}{s}": 0.5 for m in ("", "centre_", "chance_") for s in DEFAULT_SCORES}
    row |= {"nss": 3.04, "kl": 0.46}
    score_files.write_scores(tmp_path, [{"name": "a", **row}, {"name": "b", **row}], "OSIE")
    write_two_checkpoints(tmp_path, ("centred", "strongest"), dead=True)
    text = printed(tmp_path)
    for words in (
        "OSIE, 2 images",
        " run ",
        "centre",
        "chance",
        "3.04±.00",
        "KL↓",
        "epoch 0 → 6",
        "conv4",
        "dead",
        "25%",
        "on centred patches",
        "conv3 on are not reliable",
        "scores.csv",
    ):
        assert words in text
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 80


def test_eight_scores_fit_eighty_columns_too(tmp_path: Path) -> None:
    row = {f"{m}{s}": 0.5 for m in ("", "centre_", "chance_") for s in (*DEFAULT_SCORES, "emd")}
    score_files.write_scores(
        tmp_path, [{"name": "a", **row}, {"name": "b", **row, "ig": -0.9}], "OSIE"
    )
    text = printed(tmp_path)
    assert "EMD↓" in text
    assert "…" not in text


def test_no_digit_of_a_score_is_cut(tmp_path: Path) -> None:
    row = {f"{m}{s}": 0.5 for m in ("", "centre_", "chance_") for s in DEFAULT_SCORES}
    far = dict.fromkeys(DEFAULT_SCORES, -2.5)
    score_files.write_scores(tmp_path, [{"name": "a", **row}, {"name": "b", **row, **far}], "OSIE")
    assert "…" not in printed(tmp_path)


def test_the_shuffled_auc_of_one_test_image_is_explained(tmp_path: Path) -> None:
    row = {"name": "a", **dict.fromkeys(DEFAULT_SCORES, 0.5), "sauc": math.nan}
    score_files.write_scores(tmp_path, [row], "OSIE")
    assert "sAUC nan: no other test image has fixations" in printed(tmp_path)
    score_files.write_scores(tmp_path, [row, {**row, "name": "b", "sauc": 0.5}], "OSIE")
    assert "sAUC nan" not in printed(tmp_path)


def test_a_search_for_targets_has_a_table_of_its_own(tmp_path: Path) -> None:
    keys = (*DEFAULT_SCORES, *TARGET_SCORES)
    row = {f"{m}{s}": 0.5 for m in ("", "centre_", "chance_") for s in keys}
    row |= {"msrtarget": 12.5, "search": 3.0, "chance_search": 100.0}
    score_files.write_scores(tmp_path, [{"name": "a", **row}, {"name": "b", **row}], "pop-out")
    text = printed(tmp_path)
    for word in ("Search for the target", "GSI↑", "search↓", "12.50", "100.00"):
        assert word in text
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 80


def test_reliability_is_a_column_where_it_is_known(tmp_path: Path) -> None:
    write_noise_checkpoints(tmp_path)
    text = printed(tmp_path)
    for words in (
        *("on natural images, epoch 0 → 6", "reliability", "correlation with epoch 0"),
        *("0.60", "–", " ± 0.2", "±: median standard error", "dead", "below .3"),
    ):
        assert words in text
    assert "see README.md" not in text
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 80
    (change,) = terminal.field_changes(tmp_path)
    assert change.reliability == pytest.approx(0.6), "of the units that respond"


def test_what_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    text = printed(tmp_path)
    assert "Test scores" not in text
    assert "Receptive fields" not in text
    assert str(tmp_path) in text


@pytest.mark.parametrize("source", ["centred", "blank", "noise"])
def test_without_the_strongest_patches_no_column_of_dead_units(source: str, tmp_path: Path) -> None:
    write_two_checkpoints(tmp_path, (source,))
    text = printed(tmp_path)
    assert f"on {source} patches, epoch 0 → 6" in text
    assert "dead" not in text
    (change,) = terminal.field_changes(tmp_path)
    assert change.dead_share is None
    assert 0 < change.correlation < 1


def test_the_strongest_patches_alone_have_all_columns(tmp_path: Path) -> None:
    write_two_checkpoints(tmp_path, ("strongest",), dead=True)
    text = printed(tmp_path)
    assert "on strongest patches" in text
    assert "25%" in text


def test_brackets_in_names_are_printed_and_one_image_has_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a [bold] run [1]"
    folder.mkdir()
    score_files.write_scores(folder, [{"name": "a", "nss": 1.5}], "set [red] of [2]")
    terminal.print_summary(folder, Console(width=300, highlight=False))
    text = " ".join(capsys.readouterr().out.split())
    assert "set [red] of [2]" in text
    assert "a [bold] run [1]" in text
    assert "1.50" in text
    assert "±" not in text
