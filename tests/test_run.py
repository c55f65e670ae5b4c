import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException

import run
from deepsal.data import popout_dataset, write_csv_folder
from deepsal.rf import store
from deepsal.runs import targets
from deepsal.training.task import SaliencyTask
from deepsal.training.wandb_log import WeightsAndBiases
from tests.support import ROOT, SMALL, built, composed, execute, launch, plain, write_config

GROUPS = sorted(folder for folder in (ROOT / "conf").iterdir() if folder.is_dir())
OPTIONS = [(g.name, o.stem) for g in GROUPS for o in sorted(g.glob("*.yaml"))]


@pytest.fixture(autouse=True)
def hydra_from_here() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_builds_and_is_named_after_its_file(
    group: str, option: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = yaml.safe_load((ROOT / "conf" / group / f"{option}.yaml").read_text())
    assert text["name"] in {option, "???"}
    overrides = ["backbone=alexnet", "backbone.weights=null", "data=popout", "logger=csv"]
    if option == "norm":  # AlexNet has no normalisation layer
        overrides[0] = "backbone=resnet18"
    if option == "timm":
        overrides.append("backbone.name=mobilenetv3_small_100")
    if option in {"folder", "hdf5"}:
        overrides += ["data.dataset.path=nowhere", "data.dataset.sigma=20.0"]
    if option == "maps":
        overrides.append("network.path=nowhere")
    if group == "data" and option != "popout":
        overrides.append("data_dir=nowhere")
    if option == "maps" or (group == "data" and option != "popout"):
        with pytest.raises(
            Exception, match=r"no .* here: .*nowhere|nowhere is no folder; set data_dir"
        ):
            built(tmp_path, *overrides, f"{group}={option}")
    else:
        objects = built(tmp_path, *overrides, f"{group}={option}")
        assert set(objects) == set(targets.PARTS)


def test_the_folder_of_a_run_or_sweep_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = []
    for _ in range(2):
        for mode, use in (("RUN", "run"), ("MULTIRUN", "sweep")):
            overrides = ["data=popout", f"hydra.mode={mode}"]
            config = compose("config", overrides, return_hydra_config=True)
            folders += [config.hydra[use].dir, config.hydra[use].dir]
    run_folder, again, sweep_folder, sweep_again = folders[:4]
    assert (again, sweep_again) == (run_folder, sweep_folder)
    assert {run_folder, sweep_folder}.isdisjoint(folders[4:])
    assert {*map(Path, folders)} == {*tmp_path.glob("runs/*/*")}


def test_a_network_is_scored_on_a_folder_with_options_of_its_own(tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "run"
    write_csv_folder(popout_dataset((1, 1, 2), size=(40, 60)), mine)
    tested = [*SMALL, "logger=csv", "rf=none", "data@tested=folder", f"tested.dataset.path={mine}"]
    execute(composed(folder, *tested, "tested.dataset.sigma=5.0"), folder)
    scores = json.loads((folder / "scores.json").read_text())
    assert (scores["dataset"], scores["images"]) == ("mine", 2)
    message = "images.csv has no column sigma; set tested.dataset.sigma=PIXELS"
    with pytest.raises(ValueError, match=message):
        built(folder, *tested)


def test_seed_0_seeds(tmp_path: Path) -> None:
    torch.manual_seed(1)
    execute(composed(tmp_path, *SMALL, "logger=csv", "do=[]", "seed=0"), tmp_path)
    assert torch.initial_seed() == 0


def test_a_job_that_was_begun_on_another_machine_keeps_its_precision(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("trainer: {precision: 64-true}\n")
    for overrides, expected in (([], "64-true"), (["trainer.precision=16-mixed"], "16-mixed")):
        config = composed(tmp_path, *overrides)
        run.keep_written_precision(config, tmp_path / "config.yaml")
        assert config.trainer.precision == expected
    run.keep_written_precision(fresh := composed(tmp_path), tmp_path / "new" / "config.yaml")
    assert fresh.trainer.precision in {"bf16-mixed", "32-true"}


def test_a_run_on_the_dashboard_is_named_after_what_it_trains(tmp_path: Path) -> None:
    trainer = built(tmp_path, "backbone=alexnet", "backbone.weights=null", "data=popout")["trainer"]
    (logger,) = (each for each in trainer.loggers if isinstance(each, WeightsAndBiases))
    assert logger._wandb_init["name"] == "alexnet-all-kl_cc_nss-s0"


def test_one_network_is_built_not_two(tmp_path: Path) -> None:
    task = built(tmp_path, "backbone=alexnet", "backbone.weights=null", "data=popout")["task"]
    assert isinstance(task, SaliencyTask)
    optimised = {
        id(p) for g in task.finetune.parameter_groups(task.network, 1.0) for p in g["params"]
    }
    assert optimised == {id(p) for p in task.parameters()}


@pytest.mark.parametrize(
    "override",
    [
        "optim.optimizer._target_=os.system",
        "optim.optimizer._target_=torch.os.system",
        "optim.optimizer._target_=deepsal.runs.provenance.subprocess.run",
        "+data.extra=[{_target_: os.system, command: ls}]",
    ],
)
def test_a_target_outside_the_allow_list_is_refused_before_anything_is_built(
    override: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"_target_=.* may be built"):
        built(tmp_path, "data=popout", override)


def test_the_sweep_of_the_readme_leaves_one_complete_folder_per_job(tmp_path: Path) -> None:
    launch(
        tmp_path,
        "-m",
        "backbone=resnet18,alexnet",
        "finetune=conv5",
        "rf.units=2",
        "rf.patches=1",
        *(o for o in SMALL if o != "backbone=resnet18"),
    )
    jobs = sorted(folder for folder in tmp_path.iterdir() if folder.is_dir())
    assert [job.name for job in jobs] == [
        "0-resnet18-conv5-kl_cc_nss-s0",
        "1-alexnet-conv5-kl_cc_nss-s0",
    ]
    sweep = (tmp_path / "report.html").read_text()
    for job in jobs:
        assert f'href="{job.name}/report.html"' in sweep
        assert "Receptive fields through training" in (job / "report.html").read_text()
        assert (job / "status").read_text() == "done\n"
        for kind in ("best", "last"):
            torch.load(job / "checkpoints" / f"{kind}.ckpt", weights_only=True)
        assert "conv5/strongest" in store.entry_names(job / "fields" / "epoch=001.npz")
        assert len(pd.read_csv(job / "scores.csv")) == 2
        scores = json.loads((job / "scores.json").read_text())["scores"]
        assert set(scores) == {"run", "centre", "chance"}
        assert {"val/nss", "rf/conv5/extent"} <= set(pd.read_csv(job / "metrics.csv").columns)
        config = yaml.safe_load((job / "config.yaml").read_text())
        assert (config["seed"], config["task"]["network"]["backbone"]) == (0, config["backbone"])
        assert list((job / "wandb").glob("offline-run-*/*.wandb"))
        for name in ("origin.json", "requirements.txt", "changes.diff", "overrides.txt"):
            assert (job / name).is_file()
        assert list((job / "figures").glob("**/*.png"))


def test_a_verdict_on_a_run_is_the_same_after_it_and_later(tmp_path: Path) -> None:
    small = [*SMALL, "logger=csv", "rf=none", "claims.stages=[conv1,conv4]", "claims.pairs=8"]
    small += [
        "claims.units=3",
        "claims.plantings=10",
        "claims.images=4",
        "claims.built_in=[bn_only]",
    ]
    execute(composed(tmp_path / "a", *small, "do=[fit,claims]"), tmp_path / "a")
    best = f"ckpt={tmp_path}/a/checkpoints/best.ckpt"
    execute(composed(tmp_path / "b", *small, "do=[claims]", best), tmp_path / "b")
    first, later = (json.loads((tmp_path / f / "verdict.json").read_text()) for f in ("a", "b"))
    assert first == later
    assert first["weights"]["before"] != first["weights"]["after, seed 0"]
    for folder in ("a", "b"):
        logged = pd.read_csv(tmp_path / folder / "metrics.csv")
        assert {"claims/conv1/natural/similarity", "claims/conv4/grey/csi"} <= set(logged.columns)


def test_a_network_is_compared_with_macaque_v1(tmp_path: Path) -> None:
    small = [*SMALL, "logger=csv", "rf=none", "v1.stages=[conv1]", "do=[v1]"]
    execute(composed(tmp_path, *small), tmp_path)
    networks = json.loads((tmp_path / "v1.json").read_text())["networks"]
    assert [*networks] == ["before training", "untrained"]
    assert networks["before training"]["conv1"]["responsive"] > 0
    logged = pd.read_csv(tmp_path / "metrics.csv")
    assert {"v1/conv1/ssi", "v1/conv1/frequency"} <= set(logged.columns)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rf.stages=[conv8]"], r"rf\.stages: conv8 is none of conv1, conv2"),
        (["metric=val/bleu"], r"the choices are \['val/loss'"),
        (["do=[train]"], "the choices are fit, test, claims, v1, export"),
        (["backbone.weights=missing.pth"], "missing.pth does not exist"),
        (["ckpt=missing.ckpt"], "missing.ckpt"),
    ],
)
def test_bad_input_says_what_would_be_right(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        execute(composed(tmp_path, *SMALL, "logger=csv", *overrides), tmp_path)


def test_a_missing_data_set_says_which_option_to_set(tmp_path: Path) -> None:
    overrides = ["backbone=alexnet", "backbone.weights=null", "data_dir=/nowhere", "logger=csv"]
    with pytest.raises(FileNotFoundError, match="set data_dir=FOLDER"):
        execute(composed(tmp_path, *overrides), tmp_path)


def test_an_error_is_one_line_and_the_run_is_marked_as_failed(tmp_path: Path) -> None:
    done = launch(tmp_path, *SMALL, "logger=csv", "metric=val/bleu", check=False)
    assert done.returncode != 0
    assert "ValueError: metric=val/bleu: the choices are" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "status").read_text().startswith("failed: ValueError: metric=val/bleu")


def test_an_unknown_option_prints_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(MissingConfigException, match=r"(?s)conv7.*conv2.*conv5"):
        composed(tmp_path, "finetune=conv7")


def test_a_page_that_cannot_be_drawn_does_not_undo_a_done_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Path) -> None:
        raise MemoryError(f"no page of {folder.name}")

    monkeypatch.setattr("deepsal.report.page.run_page.write_run_page", refuse)
    config = write_config(tmp_path, *SMALL, "logger=csv", "do=[]")
    run.run_in_folder(plain(config), tmp_path)
    assert (tmp_path / "status").read_text() == "done\n"
    said = capsys.readouterr()
    assert f"no report: MemoryError: no page of {tmp_path.name}" in said.err
    assert f"Everything is in {tmp_path}" in said.out, "what comes after it is made"
