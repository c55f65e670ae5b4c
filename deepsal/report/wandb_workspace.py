"""Dashboard in Weights & Biases: scores, fields through training, the sweep, predictions."""

from collections.abc import Sequence
from typing import Any

from deepsal.vocabulary import MEASURES, STAGES

FIELD_SOURCES = ("natural", "grey", "strongest")
NOISE_SOURCES = {"natural": "noise on images", "grey": "noise on grey"}
"""Sources that are measured with noise, and titles of their panels."""
TRAINING_KEYS = {
    "loss": ("train/loss", "val/loss"),
    "NSS": ("train/nss", "val/nss"),
    "CC": ("train/cc", "val/cc"),
    "KL": ("train/kl", "val/kl"),
}
TEST_KEYS = ("test/nss", "test/cc", "test/kl", "test/sim", "test/auc", "test/sauc", "test/ig")
MEASURE_LABELS = {
    **MEASURES,
    "correlation_ceiling": "noise ceiling of the correlation as measured",
    "dead": "dead units",
}
ERROR_LABELS = {
    f"{measure}_error": f"{MEASURES[measure]}, standard error of a unit"
    for measure in ("correlation", "extent", "csi", "k")
}
"""Errors of measures of fields that are measured with noise."""
FIGURE_KINDS = ("evolution", "profile", "patches")
SWEEP_OPTIONS = ("backbone.name", "finetune.name", "loss.name", "seed")
FULL_WIDTH, PANEL_HEIGHT, HALF_WIDTH = 24, 10, 12


def build_workspace(
    project: str,
    entity: str,
    stages: Sequence[str] = STAGES,
    sources: Sequence[str] = FIELD_SOURCES,
    name: str = "deepsal",
) -> Any:
    """Return the dashboard of a project, unsaved; its panels show what `rf=standard` logs.

    Sections: Scores, Receptive fields (field grids of each stage with a slider over steps, and
    measures), Sweep, Predictions.

    Args:
        project: W&B project.
        entity: W&B user or team.
        stages: stages that the runs watch.
        sources: kinds of fields that the runs watch; `strongest` adds panels of the strongest
            patches and of dead units.
        name: of the saved view.

    Raises:
        ImportError: the extra `dashboard` is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise ImportError(
            "a dashboard needs wandb-workspaces; install it: pip install 'deepsal[dashboard]'"
        ) from error
    predictions = "Image, fixations, ground truth, prediction"
    contents = {
        "Scores": _score_panels(panels),
        "Receptive fields": _field_panels(panels, stages, sources),
        "Sweep": _sweep_panels(panels),
        "Predictions": [_media_panel(panels, predictions, ["val/predictions"], FULL_WIDTH)],
    }
    sections = [
        workspaces.Section(name=section, panels=content, is_open=True)
        for section, content in contents.items()
    ]
    return workspaces.Workspace(entity=entity, project=project, name=name, sections=sections)


def save_workspace(workspace: Any) -> str:
    """Save a dashboard on the W&B server and return its address.

    Raises:
        ValueError: there is no login, or the server cannot be reached or refuses the dashboard.
    """
    import wandb

    try:
        return str(workspace.save().url)
    except wandb.errors.Error as error:
        message = " ".join(str(error).split()).rstrip(".")
        advice = "check the connection, log in with `wandb login`, and repeat"
        raise ValueError(f"W&B: {message}; {advice}") from error


def _score_panels(panels: Any) -> list[Any]:
    curves = [
        panels.LinePlot(title=title, x="epoch", y=[*keys]) for title, keys in TRAINING_KEYS.items()
    ]
    bars = [panels.BarPlot(title=f"Test {key[5:].upper()}", metrics=[key]) for key in TEST_KEYS]
    return [*curves, *bars]


def _field_panels(panels: Any, stages: Sequence[str], sources: Sequence[str]) -> list[Any]:
    strongest = "strongest" in sources
    unknown = {"dead"} if not strongest else set()
    kinds = [kind for kind in FIGURE_KINDS if kind != "patches" or strongest]
    grids = [
        _media_panel(
            panels,
            f"{stage}: {NOISE_SOURCES.get(source, f'{source} patches')}",
            [f"rf/{stage}/{source}"],
            HALF_WIDTH,
        )
        for stage in stages
        for source in sources
    ]
    labels = {**MEASURE_LABELS, **(ERROR_LABELS if sources[0] in NOISE_SOURCES else {})}
    curves = [
        panels.LinePlot(title=title, x="epoch", y=[f"rf/{stage}/{measure}" for stage in stages])
        for measure, title in labels.items()
        if measure not in unknown
    ]
    ends = [
        _media_panel(
            panels, f"{stage} at the end", [f"rf/{stage}/{kind}" for kind in kinds], FULL_WIDTH
        )
        for stage in stages
    ]
    return [*grids, *curves, *ends]


def _sweep_panels(panels: Any) -> list[Any]:
    column = panels.ParallelCoordinatesPlotColumn
    columns = [column(metric=panels.Config(option)) for option in SWEEP_OPTIONS]
    columns += [column(metric=panels.SummaryMetric(key)) for key in ("test/nss", "test/cc")]
    bars = [
        panels.BarPlot(
            title=f"Test NSS by {group}",
            metrics=["test/nss"],
            groupby=panels.Config(option),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
        for group, option in (("backbone", "backbone.name"), ("depth", "finetune.name"))
    ]
    wide = panels.Layout(w=FULL_WIDTH, h=PANEL_HEIGHT)
    return [panels.ParallelCoordinatesPlot(columns=columns, layout=wide), *bars]


def _media_panel(panels: Any, title: str, keys: list[str], width: int) -> Any:
    """Return a panel of figures with a slider over steps."""
    layout = panels.Layout(w=width, h=PANEL_HEIGHT)
    return panels.MediaBrowser(
        title=title, media_keys=keys, mode="gallery", gallery_axis="step", layout=layout
    )
