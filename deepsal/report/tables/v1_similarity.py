"""Table of stages against macaque V1: similarities of several runs as Markdown, CSV or LaTeX."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepsal import atomic
from deepsal.runs.run_records import read_json

TABLE_SUFFIXES = (".md", ".csv", ".tex")


def v1_rows(folders: Sequence[Path]) -> "pd.DataFrame":
    """Return one row per run, network and stage: units, medians and similarities with intervals.

    Raises:
        FileNotFoundError: a run has no `v1.json`.
    """
    rows: list[dict[str, Any]] = []
    for folder in folders:
        if not (folder / "v1.json").is_file():
            raise FileNotFoundError(
                f"{folder} has no v1.json; write it with python run.py do=[v1] ckpt=FILE"
            )
        for network, stages in read_json(folder / "v1.json")["networks"].items():
            for stage, layer in stages.items():
                row = {"run": folder.resolve().name, "network": network, "stage": stage}
                row |= {key: layer[key] for key in ("units", "responsive", "compared")}
                row["median_ssi"] = layer["median"]["ssi"]["estimate"]
                for name, value in layer["similarity"].items():
                    row |= {name: value["estimate"], f"{name}_low": value["low"]}
                    row[f"{name}_high"] = value["high"]
                rows.append(row)
    return pd.DataFrame(rows)


def write_v1_table(folders: Sequence[Path], file: Path) -> Path:
    """Write the table in the format of the file's suffix; return the file.

    A CSV file has all numbers. Markdown and LaTeX (booktabs) have the similarities with their
    intervals.

    Raises:
        ValueError: a suffix other than .md, .csv or .tex; and the errors of `v1_rows`.
    """
    if file.suffix not in TABLE_SUFFIXES:
        raise ValueError(f"{file} must end in one of {', '.join(TABLE_SUFFIXES)}")
    rows = v1_rows(folders)
    if file.suffix == ".csv":
        return atomic.write_text(file, rows.to_csv(index=False))
    names = [name.removesuffix("_low") for name in rows.columns if name.endswith("_low")]
    head = ["run", "network", "stage", "units", *(name.replace("_", " ") for name in names)]
    body = [
        [row["run"], row["network"], row["stage"], f"{row['compared']}/{row['units']}"]
        + [_interval_cell(row, name) for name in names]
        for row in rows.to_dict("records")
    ]
    return atomic.write_text(file, _latex(head, body) if file.suffix == ".tex" else _md(head, body))


def _interval_cell(row: dict[Any, Any], name: str) -> str:
    values = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
    if any(pd.isna(value) for value in values):
        return "–"
    return f"{values[0]:.2f} [{values[1]:.2f}, {values[2]:.2f}]"


def _md(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _latex(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    first, *rest = (" & ".join(line).replace("_", r"\_") + r" \\" for line in [head, *body])
    begin = f"\\begin{{tabular}}{{lll{'r' * (len(head) - 3)}}}"
    lines = [begin, "\\toprule", first, "\\midrule", *rest, "\\bottomrule", "\\end{tabular}", ""]
    return "\n".join(lines)
