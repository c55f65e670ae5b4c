"""Collect the runs of the depth study in expected.csv and draw them in figure.png.

python experiments/depth/figure.py runs/studies/depth [--to experiments/depth]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from deepsal.report.tables import terminal
from deepsal.runs import score_files
from deepsal.vocabulary import DEPTHS, STAGES

TEST_SCORES = ("nss", "cc", "kl", "sim", "auc")
PLOTTED_SCORES = {"nss": "NSS", "cc": "CC", "kl": "KL"}


def collect_study_table(folder: Path) -> pd.DataFrame:
    """Return depth, seed, scores and correlation of fields per stage, a row per finished job."""
    rows = []
    for job in sorted(p.parent for p in folder.glob("*/scores.json")):
        config = yaml.safe_load((job / "config.yaml").read_text(encoding="utf-8"))
        scores = score_files.read_scores(job)["scores"]
        row = {"depth": config["finetune"]["name"], "seed": config["seed"]}
        row |= {score: round(scores["run"][score]["mean"], 4) for score in TEST_SCORES}
        row |= {
            f"centre_{score}": round(scores["centre"][score]["mean"], 4) for score in PLOTTED_SCORES
        }
        row |= {s.stage: round(s.correlation, 4) for s in terminal.field_changes(job)}
        rows.append(row)
    if not rows:
        raise FileNotFoundError(
            f"{folder} holds no finished job (*/scores.json); run the study of depth first"
        )
    table = pd.DataFrame(rows)
    table["depth"] = pd.Categorical(table["depth"], DEPTHS, ordered=True)
    return table.sort_values(["depth", "seed"]).reset_index(drop=True)


def draw_study(table: pd.DataFrame) -> Figure:
    """Draw scores against depth, a dot per seed, and the change of fields of each stage."""
    depths = [depth for depth in DEPTHS if depth in set(table["depth"])]
    place = [depths.index(depth) for depth in table["depth"]]
    figure = Figure(figsize=(11, 3.2), dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.3])
    for axis, (score, name) in zip(axes[:3], PLOTTED_SCORES.items(), strict=True):
        axis.plot(place, table[score], "o", color="#33658a", ms=4, alpha=0.8)
        mean = table.groupby("depth", observed=True)[score].mean()
        axis.plot(range(len(depths)), mean, color="#33658a", lw=1)
        axis.set_title(f"{name} {'↓' if score == 'kl' else '↑'}", fontsize=9)
    stages = [stage for stage in STAGES if stage in table]
    means = table.groupby("depth", observed=True)[stages].mean().to_numpy()
    image = axes[3].imshow(means.T, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (column, row), value in np.ndenumerate(means):
        colour = "black" if value > 0.6 else "white"
        text = f"{value:.2f}" if np.isfinite(value) else "n.d."
        axes[3].text(column, row, text, ha="center", va="center", size=7, color=colour)
    axes[3].set_yticks(range(len(stages)), stages, fontsize=8)
    axes[3].set_title("similarity of fields to before training", fontsize=9)
    figure.colorbar(image, ax=axes[3], pad=0.02)
    for axis in axes:
        axis.set_xticks(range(len(depths)), depths, fontsize=8)
        axis.set_xlabel("first stage that learns", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Collect the table, draw the figure and write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    table = collect_study_table(arguments.runs)
    arguments.to.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.to / "expected.csv", index=False)
    draw_study(table).savefig(arguments.to / "figure.png")
    print(
        table.groupby("depth", observed=True)[[*PLOTTED_SCORES, "conv4", "conv5"]].mean().round(3)
    )
    first = json.loads(next(arguments.runs.glob("*/origin.json")).read_text(encoding="utf-8"))
    print(f"commit {first['commit']}, {first['processor']}, {first['cores']} cores")


if __name__ == "__main__":
    main()
