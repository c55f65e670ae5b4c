from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from deepsal.runs import trained
from deepsal.training.checkpoints import AtomicCheckpointIO

CONFIG: dict[str, Any] = {
    "do": ["fit", "test"],
    "ckpt": None,
    "name": "resnet18-all-kl-s3",
    "seed": 3,
    "metric": "val/nss",
    "network": {"name": "saliency", "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"}},
    "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"},
    "decoder": {"name": "readout", "width": 64},
    "finetune": {"name": "all", "lr_scale": 0.1},
    "loss": {"name": "kl"},
    "optim": {"name": "adamw", "lr": 0.01},
    "trainer": {"max_epochs": 4},
    "data_dir": "/cluster/data",
    "data": {
        "name": "osie",
        "size": [64, 96],
        "dataset": {"data_dir": "/cluster/data/osie"},
        "num_workers": 8,
        "test": None,
    },
}
OLDER_WEIGHTS = {"network.backbone.conv1.0.weight": torch.ones(1)}
COMPOSED: dict[str, Any] = {
    **CONFIG,
    "seed": 0,
    "do": ["test"],
    "backbone": {"name": "vgg16", "weights": "IMAGENET1K_V1"},
    "finetune": {"name": "none", "lr_scale": 0.1},
    "loss": {"name": "kl"},
    "data_dir": "/home/data",
    "data": {"name": "nus_scene", "size": [192, 256], "batch_size": 2},
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint with weights, the state of an optimiser, and the record of its training."""
    network = nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2)).backward()
    optimiser.step()
    content = {"state_dict": network.state_dict(), "optimizer": optimiser.state_dict(), "n": 3}
    record = {"config": CONFIG, "dataset": "OSIE", "commit": "abc", "version": "1"}
    AtomicCheckpointIO(record).save_checkpoint(content, tmp_path / "checkpoints" / "best.ckpt")
    return tmp_path / "checkpoints" / "best.ckpt"


def options(checkpoint: Path, *overrides: str, **composed: Any) -> dict[str, Any]:
    config = {**COMPOSED, "ckpt": str(checkpoint), **composed}
    return trained.checkpoint_options(config, overrides)


def test_the_record_of_a_checkpoint_is_read_without_torch(checkpoint: Path) -> None:
    stored = torch.load(checkpoint, weights_only=True)["run"]
    assert trained.read_record(checkpoint) == stored
    assert stored["config"] == CONFIG


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"run": Evil(), "state_dict": OLDER_WEIGHTS}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="is no checkpoint of deepsal"):
        trained.read_record(tmp_path / "a.ckpt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("steps", [["test"], ["fit"]])
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"<html>404</html>", b"PK\x03\x04"),
        *({"features.0.weight": torch.ones(1)}, {"state_dict": {"conv.weight": torch.ones(1)}}),
        *([torch.ones(1)], {"state_dict": None}, {"run": 3}),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named_before_anything_is_built(
    content: object, steps: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "bad.ckpt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    message = rf"ckpt={file} is no checkpoint of deepsal; set ckpt=FILE .*, or ckpt=RUN_FOLDER"
    with pytest.raises(ValueError, match=message):
        options(file, do=steps)


def test_an_older_checkpoint_is_described_by_its_run_folder_or_not_at_all(
    checkpoint: Path, tmp_path: Path
) -> None:
    AtomicCheckpointIO().save_checkpoint({"state_dict": OLDER_WEIGHTS}, checkpoint)
    assert options(checkpoint, "backbone=vgg16") == {}
    for steps, expected in ((["fit"], "resnet18"), (["test"], None)):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "do": steps}))
        assert options(checkpoint).get("backbone", {}).get("name") == expected


def test_a_test_has_the_options_of_its_checkpoint(checkpoint: Path) -> None:
    chosen = options(checkpoint)
    for group in ("backbone", "finetune", "loss", "optim", "seed", "metric"):
        assert chosen[group] == CONFIG[group]
    assert chosen["decoder"].items() >= CONFIG["decoder"].items()
    assert chosen["network"]["backbone"]["weights"] is None, "no download: they are replaced"
    assert chosen["data.dataset"] == {"data_dir": "/home/data/osie"}, "where the data is here"
    assert (chosen["data.size"], chosen["data.name"]) == ([64, 96], "osie")
    assert "data.num_workers" not in chosen
    assert chosen["trained"] == {
        "checkpoint": str(checkpoint),
        "name": "resnet18-all-kl-s3",
        "seed": 3,
        "epochs": 4,
        "dataset": "OSIE",
        "commit": "abc",
        "start": None,
    }


def test_data_seed_and_output_of_a_test_may_differ(checkpoint: Path) -> None:
    chosen = options(checkpoint, "seed=0", "data=nus_scene", "export.path=x", "rf=none")
    assert chosen["seed"] == 0
    assert chosen["data.size"] == [64, 96], "the size that the network was trained at"
    assert "data.dataset" not in chosen
    assert chosen["data.fit"] == "squeeze", "of a checkpoint that is older than the option"
    assert options(checkpoint, "data.fit=pad", data={"fit": "pad"})["data.fit"] == "pad"
    tested = options(checkpoint, "data@tested=nus_scene", "data.batch_size=2")
    assert "data.test" not in tested
    assert (tested["data.batch_size"], tested["data.name"]) == (2, "osie")


@pytest.mark.parametrize("step", ["claims", "v1"])
def test_claims_and_v1_need_the_weights_before_training(step: str, checkpoint: Path) -> None:
    assert options(checkpoint, do=[step])["network"] == CONFIG["network"]


def test_an_option_that_contradicts_the_checkpoint_is_one_line_with_both_values(
    checkpoint: Path,
) -> None:
    own, given = (
        "backbone=resnet18, finetune=all, optim.lr=0.01",
        "vgg16, finetune=none, optim.lr=1",
    )
    with pytest.raises(ValueError, match=rf"with {own}, and the .* backbone={given}; leave out"):
        options(
            checkpoint,
            *("backbone=vgg16", "finetune=none", "loss=kl", "++optim.lr=1", "seed=7"),
            optim={"name": "adamw", "lr": 1},
        )


def test_a_new_training_has_the_network_of_its_checkpoint_and_options_of_its_own(
    checkpoint: Path,
) -> None:
    chosen = options(checkpoint, "finetune=none", "data=nus_scene", do=["fit"])
    assert set(chosen) == {"network", "backbone", "decoder"}
    with pytest.raises(ValueError, match=r"=resnet18, and .* has backbone=vgg16;"):
        options(checkpoint, "backbone=vgg16", do=["fit"])


def test_a_checkpoint_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x\.ckpt does not exist; set ckpt=FILE or ckpt=R"):
        options(tmp_path / "x.ckpt")


def test_a_run_is_named_after_its_checkpoint(checkpoint: Path) -> None:
    own = ("vgg16", "conv5", "sam", None, 1)
    for folder in (str(checkpoint), str(checkpoint.parents[1])):
        assert trained.run_name(folder, ["test"], *own) == "resnet18-all-kl-s3"
        assert trained.run_name(folder, ["fit", "test"], *own) == "resnet18-conv5-sam-s1"
    for steps, name in ((["test"], "vgg16-untrained-s1"), (["claims"], "vgg16-conv5-sam-s1")):
        assert trained.run_name(None, steps, *own) == name
    assert trained.run_name("missing.ckpt", ["test"], *own) == "vgg16-conv5-sam-s1"


def test_a_checkpoint_older_than_the_stages_of_its_decoder_has_the_default_ones(
    checkpoint: Path,
) -> None:
    read = {"name": "readout", "width": 64, "stages": ["conv2", "conv3", "conv4", "conv5"]}
    for steps in (["fit"], ["test"]):
        chosen = options(checkpoint, "decoder.stages=[…]", decoder=read, do=steps)
        assert chosen["decoder"] == read
    other = {**read, "stages": ["conv5"]}
    message = r'trained with decoder.stages=\["conv2", .*"conv5"\], and .* decoder.stages=\["conv5"'
    with pytest.raises(ValueError, match=message):
        options(checkpoint, "decoder.stages=[conv5]", decoder=other)
