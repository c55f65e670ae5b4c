import re
from pathlib import Path

import pytest

from deepsal.report.page.run_page import write_run_page
from deepsal.report.page.v1_panel import BAR_HEIGHT, read_v1_panel
from tests.report.support import write_run
from tests.report.v1_result import write_v1_result


def test_bars_are_shares_and_a_stage_without_units_has_none(tmp_path: Path) -> None:
    write_v1_result(tmp_path)
    panel = read_v1_panel(tmp_path)
    for histogram in panel["histograms"]:
        assert [bars.name for bars in histogram.histograms] == ["macaque V1", "conv3"]
        for bars in histogram.histograms:
            assert sum(share for *_, share in bars.bars) == pytest.approx(1)
            assert all(y + height == pytest.approx(BAR_HEIGHT) for _, y, height, _ in bars.bars)


def test_a_run_without_the_step_has_no_panel(tmp_path: Path) -> None:
    assert read_v1_panel(tmp_path) == {}


def test_the_page_shows_networks_and_controls(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_v1_result(run)
    text = write_run_page(run).read_text().split('id="v1"')[1].split("</section>")[0]
    assert re.findall("<h3>(.*?)</h3>", text)[:2] == ["after training", "untrained"]
    assert text.count("<svg") == 10
    assert "28 pixels per degree" in text
    assert text.count("<b>0.9") == 5
