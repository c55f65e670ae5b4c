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


def test_scores_of_which_less_is_better_are_minimised() -> None:
    low = {name for name, entry in vocabulary.SCORES.items() if entry.direction == "min"}
    assert low == {"kl", "emd"}
    assert {entry.direction for entry in vocabulary.SCORES.values()} == {"min", "max"}
    metrics = dict(vocabulary.VALIDATION_METRICS)
    assert metrics.pop("loss") == "min"
    assert metrics == {name: vocabulary.SCORES[name].direction for name in metrics}


def test_the_depths_and_norm_are_the_options_of_finetune() -> None:
    names = {yaml.safe_load(file.read_text())["name"] for file in (CONF / "finetune").iterdir()}
    assert names == {*vocabulary.DEPTHS, "norm"}
    assert set(vocabulary.DEPTHS) - {"none", "all"} == set(vocabulary.STAGES[1:])


def test_the_vocabulary_imports_nothing_else_of_the_package() -> None:
    code = "import sys, deepsal.vocabulary; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = [name for name in done.stdout.split() if name.startswith("deepsal")]
    assert imported == ["deepsal", "deepsal.vocabulary"]
