from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from deepsal.report.condition_study import compare_conditions
from tests.report.support import write_finished_job

LOSSES = {"kl": "KL", "cc": "CC", "nss": "NSS"}


@pytest.mark.parametrize("differences", [False, True])
def test_a_study_of_one_option_becomes_a_table_and_a_figure(
    differences: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for loss in ("cc", "other", "kl"):
        for seed in (0, 1):
            write_finished_job(tmp_path / f"{loss}-s{seed}", loss, seed, {"a": 1 + seed, "b": 2})
    compare_conditions(
        tmp_path / "figure.py",
        "loss.name",
        LOSSES,
        "KL",
        ["nss"],
        differences,
        [str(tmp_path), "--to", str(tmp_path)],
    )
    table = pd.read_csv(tmp_path / "expected.csv")
    scores = table[table["measure"] == "nss"]
    assert [*scores["condition"]] == ["CC", "KL"]
    assert [*scores["mean"]] == [1.75, 1.75]
    assert "1.75" in capsys.readouterr().out
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.size[0] > 1000
