import subprocess
import sys
from pathlib import Path

import yaml

from deepsal import vocabulary
from deepsal.metrics.scoring import DEFAULT_SCORES, OPTIONAL_SCORES, SCORE_PROTOCOLS

CONF = Path(__file__).parents[1] / "conf"


def test_every_score_that_is_computed_has_a_label_and_no_other() -> None:
    assert set(vocabulary.SCORES) == {
        name for scores in SCORE_PROTOCOLS.values() for name in scores
    }
    assert set(DEFAULT_SCORES) | set(OPTIONAL_SCORES) <= set(vocabulary.SCORES)
    assert set(vocabulary.LOWER) < set(vocabulary.SCORES)


def test_a_score_that_is_better_when_it_is_lower_is_minimised() -> None:
    low = {name for name, direction in vocabulary.DIRECTION.items() if direction == "min"}
    assert low - {"loss"} == set(vocabulary.LOWER) & set(vocabulary.DIRECTION)


def test_the_depths_are_the_options_of_finetune() -> None:
    names = {yaml.safe_load(file.read_text())["name"] for file in (CONF / "finetune").iterdir()}
    assert names == set(vocabulary.DEPTHS)
    assert set(vocabulary.DEPTHS) - {"none", "all"} == set(vocabulary.STAGES[1:])


def test_the_vocabulary_imports_nothing_else_of_the_package() -> None:
    code = "import sys, deepsal.vocabulary; print(*sorted(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = [name for name in said.stdout.split() if name.startswith("deepsal")]
    assert ours == ["deepsal", "deepsal.vocabulary"]
