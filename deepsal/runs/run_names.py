"""Run folders below a folder, found by a part of their name."""

import os
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

RUNS_FOLDER = Path("runs")
"""The folder that `run.py` writes runs into."""
RUN_FILES = {"config.yaml", "status"}
OUTPUT_FOLDERS = {"checkpoints", "fields", "figures", "predictions", "wandb"}
"""Folders of a run that hold no other run."""
LISTED_NAMES = 6
"""Largest number of names in an error."""
LEAST_LIKENESS = 0.6
"""Ratio of `SequenceMatcher` from which a name is near to a text; that of `get_close_matches`."""


def run_folders(root: Path) -> Iterator[Path]:
    """Yield a folder and the folders below it that have files of a run, in order."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(
            name for name in subfolders if name not in OUTPUT_FOLDERS and name[0] != "."
        )
        if RUN_FILES & {*files}:
            yield Path(folder)


def find_run(text: str, option: str, needed: str = "config.yaml") -> Path:
    """Return the path that a text names, or the run below `runs` with the text in its name.

    A path that exists and an absolute one are returned as they are. A name matches if it contains
    the text, otherwise if it contains the text's parts (between `-` and `/`) in their order. A
    folder whose whole name is the text is chosen before others.

    Args:
        text: such as `runs/scenes` or `07-22-lite0`.
        option: for errors, such as `resume=`.
        needed: a file that the run has.

    Raises:
        FileNotFoundError: no run matches; the message has the near names, if there are any.
        ValueError: several runs match; the message lists them.
    """
    path = Path(text)
    if path.exists() or path.is_absolute() or not text:
        return path
    runs = {
        folder.as_posix(): folder
        for folder in run_folders(RUNS_FOLDER)
        if (folder / needed).is_file()
    }
    parts = [re.escape(part) for part in re.split("[-/]", text) if part]
    exact = rf"(^|/){re.escape(text)}$"
    for pattern in (exact, re.escape(text), ".*".join(parts)):
        names = [name for name in runs if re.search(pattern, name, re.IGNORECASE)]
        if len(names) == 1:
            return runs[names[0]]
        if names:
            more = ", …" * (len(names) > LISTED_NAMES)
            raise ValueError(
                f"{option}{text} is part of the names of {len(names)} runs: "
                f"{', '.join(names[:LISTED_NAMES])}{more}; set more of one name"
            )
    raise FileNotFoundError(
        f"{option}{text} does not exist, and no run below {RUNS_FOLDER} with a {needed} has it in "
        f"its name; {_near_names(text, [*runs])}; use {option}RUN_FOLDER"
    )


def _near_names(text: str, names: list[str]) -> str:
    """Return a phrase with at most three names that are near to a text, the nearest first.

    A name is near if its last part, or a piece of it between `-` that is no number, is.
    """

    def likeness(name: str) -> float:
        end = name.rpartition("/")[2].casefold()
        pieces = [end, *(piece for piece in end.split("-") if not piece.isdigit())]
        return max(SequenceMatcher(None, text.casefold(), piece).ratio() for piece in pieces)

    near = [name for name in names if likeness(name) >= LEAST_LIKENESS]
    if not near:
        return "`python -m deepsal runs ls` lists the runs"
    return f"the nearest: {', '.join(sorted(near, key=likeness, reverse=True)[:3])}"
