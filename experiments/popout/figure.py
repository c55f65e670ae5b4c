"""Collect the scores on search arrays in expected.csv, and draw them in figure.png.

python experiments/popout/figure.py runs/studies/popout [--to FOLDER]

A network's score on natural images is that of the run folder whose checkpoint was tested; that of a
baseline, and of a network trained on arrays, is that of a job on OSIE.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from deepsal.report.figures.intervals import error_bars
from deepsal.statistics import crossed_bootstrap
from deepsal.vocabulary import TARGET_SCORES

LABELS = {
    "none": "decoder alone tuned",
    "all": "all stages tuned",
    "arrays": "then trained on arrays",
    "shuffled_fixations": "shuffled fixations",
    "other_task": "other task (edges)",
    "itti": "Itti–Koch",
    "gbvs": "GBVS",
    "centre": "centre prior",
}
COLOURS = ("#33658a", "#9e2a2b", "#1b1b1b", "#e09f3e", "#7b5ea7", "#5fa55a", "#8d99ae", "#c9c9c9")
REFERENCES = ("none", "itti")
"""Networks that each network is compared with."""
COMPARED_SCORES = ("gsi", "search")


def main() -> None:
    """Collect the table, draw the figure and write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", type=Path, help="folder of the study, with its run folders")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    table = popout_table(read_arrays(arguments.runs), read_natural_nss(arguments.runs))
    print(table[table["group"] == "all"].round(3).T.to_string(header=False))
    table.to_csv(arguments.to / "expected.csv", index=False, float_format="%.4g")
    draw_table(table).savefig(arguments.to / "figure.png")


def finished_jobs(folder: Path) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Yield the folder of each finished job, its network's name and its options."""
    for job in sorted(file.parent for file in folder.glob("*/done")):
        config = yaml.safe_load((job / "config.yaml").read_text(encoding="utf-8"))
        name = config["network"]["name"]
        if name == "saliency":
            name = config["control"] or config["finetune"]["name"]
            if "fit" in config["do"] or config["trained"]["start"]:  # of another training's weights
                name = "arrays"
        yield job, name, config


def read_arrays(folder: Path) -> pd.DataFrame:
    """Return the scores of each array, a row per network, seed and array.

    Raises:
        FileNotFoundError: no finished job.
    """
    tables = []
    for job, network, config in finished_jobs(folder):
        if config["data"]["name"] != "popout":
            continue
        dataset = config["data"]["dataset"]
        features, contrasts = dataset["features"], dataset["contrasts"]
        table = pd.read_csv(job / "scores.csv")[["name", *TARGET_SCORES]]
        parts = table["name"].str.rsplit("-", n=1, expand=True)
        numbers = parts[1].astype(int) // len(features) % len(contrasts)
        table["feature"], table["contrast"] = parts[0], [contrasts[n] for n in numbers]
        tables.append(table.assign(network=network, seed=config["seed"]))
    if not tables:
        raise FileNotFoundError(f"{folder} holds no finished job; run the study first")
    return pd.concat(tables)


def read_natural_nss(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the NSS of each network on natural images, `{network: (seeds, images)}`."""
    tables: dict[str, dict[int, pd.Series]] = {}
    for job, network, config in finished_jobs(folder):
        arrays = config["data"]["name"] == "popout"
        if arrays and (network == "arrays" or not config["ckpt"]):
            continue
        natural = Path(config["ckpt"]).parents[1] if arrays else job
        scores = pd.read_csv(natural / "scores.csv", index_col="name")["nss"]
        tables.setdefault(network, {})[config["seed"]] = scores
    return {network: pd.DataFrame(of).T for network, of in tables.items()}


def popout_table(arrays: pd.DataFrame, natural: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the scores of each network over all arrays, of each feature and of each contrast.

    `gsi` and `search` are means, with differences to the decoder alone and to Itti–Koch on the same
    arrays; the ratios, which may be infinite, are medians. Intervals are over seeds and arrays.

    Args:
        arrays: from `read_arrays`.
        natural: from `read_natural_nss`.
    """
    rows = []
    networks = [name for name in LABELS if name in set(arrays["network"])]
    groups: list[tuple[str, object, pd.DataFrame]] = [("all", "", arrays)]
    for group in ("feature", "contrast"):
        groups += [(group, value, part) for value, part in arrays.groupby(group, sort=False)]
    for group, value, part in groups:
        values = {
            name: {
                score: of.pivot(index="seed", columns="name", values=score).to_numpy()
                for score in TARGET_SCORES
            }
            for name, of in part.groupby("network")
        }
        for network in networks:
            row: dict[str, object] = {"network": network, "group": group, "value": value}
            for score, of in values[network].items():
                if score not in COMPARED_SCORES:
                    row |= estimate_columns(score, of, None)
                    continue
                row |= estimate_columns(score, of)
                for other in REFERENCES:
                    if other != network and other in networks:
                        difference = of - values[other][score]
                        row |= estimate_columns(f"{score}_minus_{other}", difference)
            if group == "all" and network in natural:
                row |= estimate_columns("natural_nss", natural[network].to_numpy())
            rows.append(row)
    columns = [
        f"{name}{end}"
        for score in TARGET_SCORES
        for name in (score, *(f"{score}_minus_{o}" for o in REFERENCES if score in COMPARED_SCORES))
        for end in ("", "_low", "_high")
    ]
    columns += [f"natural_nss{end}" for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["network", "group", "value", *columns])


def estimate_columns(name: str, values: Any, statistic: Any = np.nanmean) -> dict[str, float]:
    """Return a statistic of (seeds, arrays) and the ends of its interval as columns of a table."""
    return crossed_bootstrap(values, statistic).interval.as_columns(name)


def draw_table(table: pd.DataFrame) -> Figure:
    """Draw GSI against natural images, contrast and feature."""
    networks = [name for name in LABELS if name in set(table["network"])]
    colours = dict(zip(LABELS, COLOURS, strict=True))
    figure = Figure(figsize=(9.5, 4.2), dpi=140, layout="constrained", facecolor="white")
    natural, contrast, feature = figure.subplots(1, 3, width_ratios=[1, 1, 1.7])
    for network in networks:
        of = table[table["network"] == network]
        whole = of[of["group"] == "all"]
        natural.errorbar(
            whole["natural_nss"],
            whole["search"],
            error_bars(whole, "search"),
            fmt="o",
            ms=5,
            capsize=2,
            c=colours[network],
            label=LABELS[network],
        )
        part = of[of["group"] == "contrast"]
        contrast.plot(
            part["value"].astype(float), part["gsi"], "o-", ms=4, lw=1, c=colours[network]
        )
    natural.set_xlabel("NSS on OSIE (natural images)", fontsize=8)
    natural.set_ylabel("fixations to the target of an array", fontsize=8)
    natural.invert_yaxis()
    natural.set_title("upper right is better in both", fontsize=9)
    contrast.axhline(0, color="0.8", lw=0.8, zorder=0)
    contrast.set_xlabel("contrast of the target", fontsize=8)
    contrast.set_ylabel("GSI", fontsize=8)
    contrast.set_title("target against distractors", fontsize=9)
    parts = table[table["group"] == "feature"]
    image = parts.pivot(index="network", columns="value", values="gsi").loc[networks]
    image = image[[*dict.fromkeys(parts["value"])]]
    limit = np.nanmax(np.abs(image.to_numpy()))
    shown = feature.imshow(image, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(image.to_numpy()):
        colour = "white" if abs(value) > 0.6 * limit else "black"
        text = f"{value:.2f}".replace("0.", ".")
        feature.text(column, row, text, ha="center", va="center", size=6.5, color=colour)
    feature.set_yticks(range(len(networks)), [LABELS[name] for name in networks])
    feature.set_xticks(range(image.shape[1]), image.columns, rotation=60, ha="right")
    feature.set_title("GSI by feature", fontsize=9)
    figure.colorbar(shown, ax=feature, pad=0.02)
    for axis in (natural, contrast, feature):
        axis.tick_params(labelsize=8)
    for axis in (natural, contrast):
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
