import io
from pathlib import Path

import numpy as np
from rich.console import Console

from deepsal.metrics.scoring import DEFAULT_SCORES
from deepsal.report.tables import terminal
from deepsal.rf import store
from deepsal.rf.mapping.gradient_fields import ReceptiveFields
from deepsal.runs import score_files
from deepsal.vocabulary import TARGET_SCORES


def found(scale: float, dead: bool = False) -> ReceptiveFields:
    field = np.random.default_rng(0).normal(size=(4, 3, 9, 9)).astype(np.float32)
    field[:, :, 4, 4] += scale
    count = np.array([0 if dead else 2, 2, 2, 2])
    return ReceptiveFields(
        field,
        units=np.arange(4),
        patches=np.zeros((4, 2, 3), dtype=np.int64),
        centre=np.zeros((4, 2, 2), dtype=np.float32),
        activation=np.zeros((4, 2), dtype=np.float32),
        count=count,
    )


def printed(folder: Path) -> str:
    out = io.StringIO()
    terminal.print_summary(folder, Console(file=out, width=80, highlight=False))
    return out.getvalue()


def test_the_end_of_a_run_fits_eighty_columns_and_says_what_was_found(tmp_path: Path) -> None:
    row = {f"{m}{s}": 0.5 for m in ("", "centre_", "chance_") for s in DEFAULT_SCORES}
    row |= {"nss": 3.04, "kl": 0.46}
    score_files.write_scores(tmp_path, [{"name": "a", **row}, {"name": "b", **row}], "OSIE")
    about = {"epoch": 6, "stages": {"conv4": {"sigma": 2.0}}}
    first, last = found(0.0), found(40.0, dead=True)
    store.save_fields(
        tmp_path / "fields" / "epoch=000.npz",
        {"conv4/centred": first, "conv4/strongest": first},
        about,
    )
    store.save_fields(
        tmp_path / "fields" / "epoch=006.npz",
        {"conv4/centred": last, "conv4/strongest": last},
        about,
    )
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
        "25%",
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


def test_a_search_for_targets_has_a_table_of_its_own(tmp_path: Path) -> None:
    keys = (*DEFAULT_SCORES, *TARGET_SCORES)
    row = {f"{m}{s}": 0.5 for m in ("", "centre_", "chance_") for s in keys}
    row |= {"msrtarget": 12.5, "search": 3.0, "chance_search": 100.0}
    score_files.write_scores(tmp_path, [{"name": "a", **row}, {"name": "b", **row}], "pop-out")
    text = printed(tmp_path)
    for word in ("Search for the target", "GSI↑", "search↓", "12.50", "100.00"):
        assert word in text
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 80


def test_what_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    text = printed(tmp_path)
    assert "Test scores" not in text
    assert "Receptive fields" not in text
    assert str(tmp_path) in text
