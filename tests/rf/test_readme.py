import doctest
from pathlib import Path

import torch

import deepsal.rf

README = Path(deepsal.rf.__file__).with_name("README.md")


def test_the_page_of_eight_lines_runs() -> None:
    torch.manual_seed(0)
    failed, tried = doctest.testfile(str(README), module_relative=False)
    assert tried >= 11
    assert failed == 0
