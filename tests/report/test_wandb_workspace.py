import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pytorch_lightning import Trainer

from deepsal.callbacks import (
    ShowPredictions,
    WatchReceptiveFields,
    field_snapshot,
    show_predictions,
    watch_fields,
)
from deepsal.report.__main__ import main
from deepsal.report.wandb_workspace import SWEEP_OPTIONS, build_workspace
from deepsal.training.csv_log import csv_logger
from tests.conftest import datamodule, task
from tests.rf.tuning.support import SMALL

# wandb_workspaces 0.4.13 still uses pydantic's old decorators
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")
ROOT = Path(__file__).parents[2]


def dashboard(*options: Any) -> dict[str, Any]:
    """Return the dashboard as the JSON that is sent, sections by name."""
    pytest.importorskip("wandb_workspaces", reason="the extra dashboard is not installed")
    model = build_workspace("a project", "an entity", *options)._to_model()
    sent = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    sections = sent["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def keys(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        config = panel["config"]
        yield from config.get("metrics", [])
        yield from config.get("mediaKeys", [])
        yield from (c["accessor"].partition("summary:")[2] for c in config.get("columns", []))


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """The keys of numbers and of pictures that a run with standard options logs."""
    folder = tmp_path_factory.mktemp("run")
    pictures: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(field_snapshot, "SHORT_PROTOCOL", SMALL)
        for module in (watch_fields, show_predictions):
            patch.setattr(module, "log_figure", lambda _trainer, key, _png: pictures.add(key))
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=csv_logger(folder),
            callbacks=[
                WatchReceptiveFields(
                    folder, units=2, patches=2, window=33, method="reverse_correlation", pairs=8
                ),
                ShowPredictions(folder, images=1),
            ],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        network, data = task(), datamodule()
        trainer.fit(network, data)
        trainer.test(network, data, verbose=False)
    return set(pd.read_csv(folder / "metrics.csv").columns), pictures


def test_no_panel_is_empty(logged: tuple[set[str], set[str]]) -> None:
    numbers, pictures = logged
    sections = dashboard()
    assert [*sections] == ["Scores", "Receptive fields", "Sweep", "Predictions"]
    for name, panels in sections.items():
        assert panels
        for panel in panels:
            assert [key for key in keys([panel]) if key], f"{name}: {panel}"
        asked = {key for key in keys(panels) if key}
        media = {key for panel in panels for key in panel["config"].get("mediaKeys", [])}
        assert media <= pictures, name
        assert asked - media <= numbers, name


def test_every_picture_and_every_measure_of_a_run_has_a_panel(
    logged: tuple[set[str], set[str]],
) -> None:
    numbers, pictures = logged
    asked = {key for panels in dashboard().values() for key in keys(panels)}
    assert pictures <= asked
    logged_numbers = {n for n in numbers if n.startswith(("rf/", "val/", "test/", "train/"))}
    assert logged_numbers <= asked


def test_pictures_have_a_slider_over_steps() -> None:
    panels = dashboard()["Receptive fields"]
    media = [panel["config"] for panel in panels if panel["viewType"] == "Media Browser"]
    assert len(media) == 20
    assert all(config["gallerySettings"] == {"axis": "step"} for config in media)


def test_what_is_not_watched_has_no_panel() -> None:
    asked = {k for panels in dashboard(["conv4"], ["centred"]).values() for k in keys(panels)}
    assert "rf/conv4/centred" in asked
    assert not [
        k for k in asked if "strongest" in k or "patches" in k or "dead" in k or "conv5" in k
    ]


@pytest.mark.parametrize("sources", [["natural", "grey"], ["centred"]])
def test_fields_have_a_panel_of_their_reliability(sources: list[str]) -> None:
    panels = dashboard(["conv4"], sources)["Receptive fields"]
    shown = {f"rf/conv4/{source}" for source in sources}
    assert {*shown, "rf/conv4/reliability"} <= {*keys(panels)}


def test_the_sweeps_options_are_in_the_configuration() -> None:
    top = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text())
    groups = {key for default in top["defaults"] if isinstance(default, dict) for key in default}
    assert {option.partition(".")[0] for option in SWEEP_OPTIONS} <= groups | set(top)


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["workspace", "--project", "p", "--entity", "e"]) == 1
    assert "pip install 'deepsal[dashboard]'" in capsys.readouterr().err


def test_a_dashboard_without_a_login_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces", reason="the extra dashboard is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert main(["workspace", "--project", "p", "--entity", "e"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("W&B: No API key")
    assert "wandb login" in line
