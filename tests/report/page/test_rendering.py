import re

import pytest
from jinja2 import UndefinedError

from deepsal.report.page.rendering import render_template

SWEEP = {"folder": "<b>depths</b>", "runs": [], "columns": [], "cells": [], "score_entries": {}}
SWEEP |= {"tables": [], "unfinished": []}


def test_data_are_text_and_never_markup() -> None:
    text = render_template("sweep.html", SWEEP)
    assert "<b>depths" not in text
    assert "&lt;b&gt;depths" in text
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", text)


def test_a_variable_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="folder"):
        render_template(
            "sweep.html", {key: value for key, value in SWEEP.items() if key != "folder"}
        )
