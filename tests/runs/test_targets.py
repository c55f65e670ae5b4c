import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from deepsal.runs.option_ranges import dataset_options
from deepsal.runs.targets import PARTS, allowed_parts, allowed_targets, build_part
from tests.support import ROOT, plain


def test_a_label_is_left_out_and_an_argument_is_not() -> None:
    decoder = {"_target_": "deepsal.models.ReadoutDecoder", "name": "readout", "width": 8}
    backbone = {"_target_": "deepsal.models.build_backbone", "name": "vgg16"}
    network = {"name": "a label", "backbone": backbone, "decoders": [decoder]}
    assert allowed_targets(network, "network") == {
        "backbone": backbone,
        "decoders": [{"_target_": "deepsal.models.ReadoutDecoder", "width": 8}],
    }


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "torch.os.system", "deepsal.runs.provenance.subprocess.run"),
        *("torch.nothing", "torch.no.thing", "torch..x", 7),
    ],
)
def test_a_target_outside_the_packages_is_refused(target: object) -> None:
    with pytest.raises(
        ValueError, match=r"data\.extra\[1\]\._target_=.* may be built from deepsal"
    ):
        allowed_targets({"extra": [{}, {"_target_": target}]}, "data")


def test_a_missing_value_names_its_option() -> None:
    with pytest.raises(
        ValueError, match=r"data\.dataset\.path is missing; set data\.dataset\.path="
    ):
        allowed_targets({"dataset": {"path": "???"}}, "data")
    options = dataset_options({"mixed": {"first": {}, "second": {}}})
    with pytest.raises(ValueError, match=r"tested\.dataset\.sigma is missing; set tested\.dataset"):
        allowed_targets({"test": {"sigma": "???"}}, "data", options)
    with pytest.raises(ValueError, match=r"^mixed\.second\.dataset\.path is missing"):
        allowed_targets({"dataset": {"datasets": [{}, {"path": "???"}]}}, "data", options)


@pytest.mark.parametrize("part", ["callbacks", "logger"])
def test_a_callback_or_logger_that_would_build_nothing_is_refused(part: str) -> None:
    config: dict[str, dict[str, object]] = {each: {} for each in PARTS}
    config[part] = {"name": "mine", "left_out": None, "off": {"name": "none", "units": 32}}
    assert allowed_parts(config)[part] == {"left_out": None, "off": None}
    config[part]["kept"] = {"name": "none", "_target_": "deepsal.training.wandb_log.log_figure"}
    assert allowed_parts(config)[part]["kept"] is not None
    config[part]["average"] = {"decay": 0.5}
    with pytest.raises(ValueError, match=rf"^{part}\.average has no _target_.*conf/{part}"):
        allowed_parts(config)


def test_a_target_whose_own_imports_fail_names_the_missing_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.delitem(sys.modules, "deepsal.runs.export", raising=False)
    monkeypatch.delattr("deepsal.runs.export", raising=False)
    with pytest.raises(ImportError, match="h5py"):
        allowed_targets({"_target_": "deepsal.runs.export.PredictionExport"}, "export")


def test_a_part_is_built_with_its_parts_and_a_partial_one_waits() -> None:
    decoder = {"_target_": "deepsal.models.ReadoutDecoder", "_partial_": True, "width": 8}
    depth = {"_target_": "deepsal.models.FinetuneDepth", "depth": "conv5", "lr_scale": 0.5}
    built = build_part({"decoders": [decoder], "finetune": {**depth, "name": "a"}}, "task")
    channels = {f"conv{i}": 4 for i in range(1, 6)}
    assert built["decoders"][0](channels).out.in_channels == 8
    assert built["finetune"].depth == "conv5"


def test_arguments_of_another_version_are_named() -> None:
    depth = {"_target_": "deepsal.models.FinetuneDepth", "depth": "all", "warp": 9}
    with pytest.raises(ValueError, match=r"finetune cannot be built by this version \(.*warp"):
        build_part(depth, "finetune")
    with pytest.raises(ValueError, match="is nothing that may be built"):
        build_part({"_target_": "os.system", "command": "true"}, "task")


@pytest.mark.parametrize(
    "study", sorted(file.parent.name for file in (ROOT / "experiments").glob("*/study.yaml"))
)
def test_each_study_can_be_run_without_receptive_fields(study: str, tmp_path: Path) -> None:
    """Although a study may set options of `rf`, which are nobody's without fields."""
    with initialize_config_dir(str(ROOT / "experiments" / study), version_base="1.3"):
        place = f"hydra.searchpath=[file://{ROOT / 'conf'}]"
        options = ["rf=none", "data=popout", "ckpt=null", f"output_dir={tmp_path}"]
        config = compose("study", [place, *options])
    assert allowed_parts(plain(config))["callbacks"]["watch"] is None
