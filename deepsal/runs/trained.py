"""Options that a checkpoint states about itself, read without importing torch."""

import json
import pickle
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from deepsal.runs import paths
from deepsal.runs.resume import read_config
from deepsal.vocabulary import CHECKPOINT_RECORD, STAGES

ARCHITECTURE = ("network", "backbone", "decoder")
"""Groups of options that a new training from the checkpoint's weights shares with it."""
TRAINING = ("finetune", "loss", "optim", "metric", "control")
"""Options that describe how the checkpoint was trained; a test or an export cannot change them."""
WEIGHTS_PREFIX = "network."
"""Start of the keys of the weights in a checkpoint."""
LOADING = ("cache_dir", "cache_gib", "num_workers", "device_cache", "val_batch_size")
"""Options of `data` that depend on the machine."""


def read_record(file: Path) -> dict[str, Any] | None:
    """Return what a checkpoint states about its training.

    A checkpoint of an older version is described by the `config.yaml` of its run folder.

    Returns:
        `config`: plain values; `dataset`: name and release; `commit` and `version` of the code. The
        last three may be missing. None: nothing is known.

    Raises:
        ValueError: the file is no checkpoint of deepsal.
    """
    record = _stored_record(file)
    run_config = file.absolute().parent.parent / "config.yaml"
    if record is None and file.parent.name == "checkpoints" and run_config.is_file():
        config = read_config(run_config)
        record = {"config": config} if "fit" in config.get("do", ()) else None
    return record


def checkpoint_options(composed: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the options of a run that its checkpoint decides, `{dotted name: value}`.

    With the step `fit` (a new training from the checkpoint's weights) these are the options of the
    network. Without it they are also those of the training and of the data, as far as the command
    line has no other data, and `trained`: what the reports state about the checkpoint.

    Args:
        composed: the configuration that the command line gives; `ckpt` is a checkpoint or None.
        overrides: of the command line, such as `backbone=vgg16` or `data@tested=nus_scene`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no checkpoint of deepsal, or an option of the command line
            contradicts it.
    """
    ckpt, steps = composed["ckpt"], composed["do"]
    if ckpt and not Path(ckpt).is_file():
        raise FileNotFoundError(f"ckpt={ckpt} does not exist; set ckpt=FILE or ckpt=RUN_FOLDER")
    record = read_record(Path(ckpt)) if ckpt else None
    if record is None:
        return {}
    config, given = _with_later_options(record["config"]), _given_options(composed, overrides)
    fixed = ARCHITECTURE if "fit" in steps else ARCHITECTURE + TRAINING
    refuse_contradictions(ckpt, config, {k: v for k, v in given.items() if _is_within(k, fixed)})
    options: dict[str, Any] = {key: config[key] for key in fixed if key in config}
    compared = {"claims", "v1"} & {*steps}  # with the weights before training
    replaced = not compared or "fit" in steps or config.get("ckpt")
    if replaced and "backbone" in config["network"]:  # its weights come from a checkpoint
        backbone = {**config["backbone"], "weights": None}
        options["network"] = {**config["network"], "backbone": backbone}
    if "fit" not in steps:
        moves = {} if _keeps_data_dir(config, given) else {config["data_dir"]: composed["data_dir"]}
        options |= _data_options(paths.moved_paths(config, moves), given)
        options["seed"] = given.get("seed", config["seed"])
        options["trained"] = {
            "checkpoint": ckpt,
            "name": config["name"],
            "seed": config["seed"],
            "epochs": config["trainer"]["max_epochs"],
            "dataset": record.get("dataset", config["data"]["name"]),
            "commit": record.get("commit"),
            "start": config.get("ckpt"),
        }
    return options


def refuse_contradictions(ckpt: str, config: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise a ValueError that names both values of each option that differs.

    Args:
        ckpt: for the message.
        config: of the checkpoint.
        given: options of the command line; a group stands for its choice, which is its `name`.
    """
    own, other = [], []
    for option, value in given.items():
        one, two = _choice(_select(config, option)), _choice(value)
        if one != two:
            own.append(f"{option}={_option_text(one)}")
            other.append(f"{option}={_option_text(two)}")
    if own:
        raise ValueError(
            f"ckpt={ckpt} was trained with {', '.join(own)}, and the command line has "
            f"{', '.join(other)}; leave out what differs"
        )


def run_name(
    ckpt: str | None,
    steps: Sequence[str],
    backbone: str,
    finetune: str,
    loss: str,
    control: str | None,
    seed: int,
) -> str:
    """Return the name of a run: its checkpoint's, or one of what it trains.

    >>> run_name(None, ["fit", "test"], "vgg16", "all", "kl", None, 0)
    'vgg16-all-kl-s0'
    >>> run_name(None, ["fit", "test"], "vgg16", "all", "kl", "other_task", 0)
    'vgg16-all-kl-other_task-s0'
    >>> run_name(None, ["test"], "vgg16", "all", "kl", None, 0)
    'vgg16-untrained-s0'
    """
    try:
        record = read_record(Path(paths.absolute_path("ckpt", ckpt))) if ckpt else None
    except (FileNotFoundError, ValueError):  # raised again where the run starts
        record = None
    if record and "fit" not in steps:
        return str(record["config"]["name"])
    if is_untrained(ckpt, steps):
        return f"{backbone}-untrained-s{seed}"
    backbone = record["config"]["backbone"]["name"] if record else backbone
    return "-".join([backbone, finetune, loss, *([control] if control else []), f"s{seed}"])


def overridden_option(override: str) -> str:
    """Return the option that an override of the command line sets.

    >>> overridden_option("data@tested=osie"), overridden_option("+trainer.profiler=simple")
    ('tested', 'trainer.profiler')
    """
    return override.lstrip("+").partition("=")[0].rpartition("@")[2]


def is_untrained(ckpt: str | None, steps: Collection[str]) -> bool:
    """Return whether a run predicts with a network that was never trained."""
    return not ckpt and "fit" not in steps and ("test" in steps or "export" in steps)


def _with_later_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's configuration with options that older versions did not have."""
    complete = {**config, "data": {"fit": "squeeze", **config["data"]}}
    decoder = config.get("decoder") or {}
    if decoder.get("name") == "readout":
        complete["decoder"] = {"stages": [*STAGES[1:]], **decoder}
    return complete


def _data_options(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the data: the checkpoint's, unless the command line has others."""
    data = {key: value for key, value in config["data"].items() if key not in LOADING}
    options: dict[str, Any] = {}
    if "data" in given:
        data = {"size": data["size"], "fit": data["fit"]}
    elif "tested" in given:
        data.pop("test", None)
    elif "tested" in config:
        options["tested"] = config["tested"]
    options |= {f"data.{key}": value for key, value in data.items()}
    return options | {key: value for key, value in given.items() if key.startswith("data.")}


def _keeps_data_dir(config: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return "data_dir" not in given and Path(config["data_dir"]).is_dir()


def _given_options(composed: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    return {key: _select(composed, key) for key in map(overridden_option, overrides)}


def _select(config: Any, option: str) -> Any:
    for key in option.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _is_within(option: str, groups: Collection[str]) -> bool:
    return option.partition(".")[0] in groups


def _choice(value: Any) -> Any:
    return value.get("name", value) if isinstance(value, Mapping) else value


def _option_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _stored_record(file: Path) -> dict[str, Any] | None:
    """Return the entry `CHECKPOINT_RECORD` of a checkpoint; None for one of an older version.

    Raises:
        ValueError: the file has neither the entry nor weights of a network of deepsal.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            with archive.open(name) as stream:
                content = _PlainValues(stream).load()
        record, weights = content.get(CHECKPOINT_RECORD), content.get("state_dict", ())
        if isinstance(record, dict) and "config" in record:
            return record
        known = any(key.startswith(WEIGHTS_PREFIX) for key in weights)
    except Exception:  # a file that is no checkpoint raises a dozen types
        known = False
    if not known:
        raise ValueError(
            f"ckpt={file} is no checkpoint of deepsal; set ckpt=FILE to a checkpoint that do=[fit] "
            "wrote, or ckpt=RUN_FOLDER"
        )
    return None


class _PlainValues(pickle.Unpickler):
    """Reader of the plain values of a pickle: it imports nothing and leaves out every object."""

    @override
    def find_class(self, module: str, name: str) -> type:
        return _LeftOut

    @override
    def persistent_load(self, pid: Any) -> None:
        return None


class _LeftOut(dict[Any, Any]):
    """Stand-in for an object of a checkpoint, such as a tensor."""

    def __init__(self, *_arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, _state: Any) -> None:
        pass
