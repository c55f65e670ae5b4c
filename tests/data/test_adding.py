"""The page on one's own data says what is so."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from deepsal.data import read_csv_folder
from deepsal.data.__main__ import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_every_step_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writes, loads = blocks("python")
    exec(writes, {})
    commands = re.findall(r"^python -m deepsal\.data (.*)$", PAGE, re.MULTILINE)
    assert [main(command.split()) for command in commands] == [0, 0]
    assert Path("mine.png").is_file()
    names: dict[str, Any] = {}
    exec(loads, names)
    one, other = names["mine"]("data"), read_csv_folder("data/mine", sigma=5.0)
    assert one.sigma == other.sigma
    points = {s.name: s.fixations for s in other.stimuli}
    assert {s.name for s in one.stimuli} == set(points)
    assert all(np.array_equal(s.fixations, points[s.name]) for s in one.stimuli)


def test_the_option_is_like_the_others() -> None:
    (option,) = map(yaml.safe_load, blocks("yaml"))
    like = yaml.safe_load((ROOT / "conf" / "data" / "toronto.yaml").read_text())
    assert set(option) == set(like)


@pytest.mark.parametrize("file", re.findall(r"`((?:deepsal|conf|tests)/[\w/.]+)`", PAGE))
def test_the_files_it_names_exist(file: str) -> None:
    assert "mine" in file or (ROOT / file).is_file()
