import json
from io import StringIO
from pathlib import Path

from rich.console import Console

from tests.bench.harness import keep, show, side_by_side


def test_both_sides_run_in_turn_and_rows_accumulate(tmp_path: Path) -> None:
    order: list[str] = []
    row = side_by_side(
        "toy", lambda: order.append("ours"), lambda: order.append("reference"), "a list", repeats=2
    )
    assert order == ["ours", "reference"] * 3
    file = tmp_path / "bench" / "bench.json"
    keep(row, file)
    keep(row, file)
    page = StringIO()
    show([row], Console(file=page, width=80))
    assert "toy" in page.getvalue()
    rows = json.loads(file.read_text())
    assert [r["name"] for r in rows] == ["toy", "toy"]
    assert {"ours_s", "reference_s", "ratio", "machine", "versions", "commit"} <= set(rows[0])
