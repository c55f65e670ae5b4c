import json
from pathlib import Path

from tests.bench.harness import report, side_by_side


def test_both_sides_run_in_turn_and_rows_accumulate(tmp_path: Path) -> None:
    order: list[str] = []
    row = side_by_side(
        "toy", lambda: order.append("ours"), lambda: order.append("reference"), "a list", repeats=2
    )
    assert order == ["ours", "reference"] * 3
    file = tmp_path / "bench" / "bench.json"
    report([row], file)
    report([row], file)
    rows = json.loads(file.read_text())
    assert [r["name"] for r in rows] == ["toy", "toy"]
    assert {"ours_s", "reference_s", "ratio", "machine", "versions", "commit"} <= set(rows[0])
