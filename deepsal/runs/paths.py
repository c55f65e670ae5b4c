"""Paths in a configuration: absolute from the start, and moved together with the run folder."""

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from deepsal.runs.process import is_first_rank
from deepsal.runs.run_names import find_run

PATH_OPTIONS = ("ckpt", "weights", "path", "images", "data_dir", "cache_dir", "controls")
"""Last names of the options that are paths."""
BEST_CHECKPOINT = "checkpoints/best.ckpt"
"""The best checkpoint of a run folder."""
CHECKPOINT_OPTIONS = ("ckpt", "weights")
"""Those that may also be a run folder, or (`weights`) a name."""
FOLDER_OPTIONS = {"RUN": "hydra.run.dir", "MULTIRUN": "hydra.sweep.dir"}
"""Hydra's modes, and the option of the folder that is used in each."""
MAX_NAME_LENGTH = 150
"""Of the part of a folder's name that names a run; file systems allow 255 bytes."""
PLACES = ("output_dir", "data_dir")
"""Folders of a machine that many options lie in."""


def folder_name(*, _root_: Any) -> str:
    """Return the name of a run for its folder.

    Args:
        _root_: the configuration, as OmegaConf passes it to a resolver.

    Returns:
        Its `name`, short and without a slash; `unnamed` if an option of the name is missing, an
        error that is raised where the run starts.
    """
    try:
        return str(_root_.name).replace("/", "_")[:MAX_NAME_LENGTH]
    except Exception:  # OmegaConf raises many types for an option that does not resolve
        return "unnamed"


def unused_folder(use: str, mode: Enum | None, folder: str) -> str:
    """Make a new folder and return its name: the given one, or one that ends in `-2`, `-3`, ….

    So two runs that begin in the same second have a folder each. Other ranks than the first get the
    given name.

    Args:
        use: the mode that uses the folder, see `FOLDER_OPTIONS`.
        mode: Hydra's mode, None where it only prints the configuration. The folder is made only in
            the mode that uses it.
        folder: its path.

    Raises:
        SystemExit: the folder cannot be made. OmegaConf wraps other errors of a resolver.
    """
    if mode is None or mode.name != use:
        return folder
    try:
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
        for number in count(1) if is_first_rank() else ():
            path = Path(folder if number == 1 else f"{folder}-{number}")
            with suppress(FileExistsError):
                path.mkdir()
                return str(path)
    except OSError as error:
        raise SystemExit(_cannot_be_made(folder, FOLDER_OPTIONS[use], error)) from error
    return folder


def refuse_impossible_folder(arguments: Sequence[str]) -> None:
    """Refuse a command line whose run folder or sweep folder Hydra could not make.

    Raises:
        SystemExit: the folder is a file or lies in one, or it cannot be written to.
    """
    for argument in arguments:
        option, _, value = argument.partition("=")
        if option in FOLDER_OPTIONS.values() and "$" not in value:
            folder = Path(value.strip("\"'")).absolute()
            try:
                place = next(each for each in (folder, *folder.parents) if each.exists())
                os.scandir(place).close()
                if not os.access(place, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                raise SystemExit(_cannot_be_made(value, option, error)) from error


def checkpoint_file(path: Path) -> Path:
    """Return the best checkpoint of a run folder, and any other path as it is.

    Raises:
        FileNotFoundError: the folder has no `checkpoints/best.ckpt`.
    """
    if not path.is_dir():
        return path
    file = path / BEST_CHECKPOINT
    if not file.is_file():
        raise FileNotFoundError(f"{path} has no {BEST_CHECKPOINT}; set ckpt=FILE")
    return file


def absolute_paths(config: Any) -> dict[str, Any]:
    """Return a configuration in which no path depends on the current folder.

    A run folder that is given as a checkpoint becomes the file of its best checkpoint.

    Args:
        config: plain values; see `PATH_OPTIONS`.
    """
    return dict(_map_texts(config, absolute_path))


def absolute_path(option: str, value: str) -> str:
    """Return the absolute path of an option's value; a value that is no path is returned as it is.

    A `ckpt` may also be a part of a run's name, see `find_run`.

    >>> absolute_path("backbone.name", "vgg16"), absolute_path("data_dir", "/data/")
    ('vgg16', '/data')
    >>> absolute_path("data.dataset.path", "???")  # missing
    '???'
    """
    name, path = option.rpartition(".")[2], Path(value)
    if name not in PATH_OPTIONS or value.startswith("~") or value == "???":
        return value
    if name == "ckpt":
        path = find_run(value, "ckpt=", BEST_CHECKPOINT)
    if name in CHECKPOINT_OPTIONS:
        path = checkpoint_file(path)
    return str(path.absolute()) if name != "weights" or path.is_file() else value


def moved_paths(config: Mapping[str, Any], moves: Mapping[str, str]) -> dict[str, Any]:
    """Return a configuration whose paths follow folders that were moved.

    Args:
        config: plain values.
        moves: `{old folder: new folder}`, absolute.

    >>> moved_paths({"a": "/old/x", "b": ["/older", 3]}, {"/old": "/new"})
    {'a': '/new/x', 'b': ['/older', 3]}
    """
    ordered = sorted(moves.items(), key=lambda move: -len(move[0]))

    def move(_option: str, value: str) -> str:
        for old, new in ordered:
            if f"{value}/".startswith(f"{old.rstrip('/')}/"):
                return f"{new}{value[len(old.rstrip('/')) :]}"
        return value

    return dict(_map_texts(config, move))


def differing_keys(one: str, other: str) -> list[str]:
    """Return the options in which two texts of `config.yaml` differ.

    The run folder, the folder of the data and the cache are left out, because they differ between
    machines.
    """
    try:
        first, second = (flat_options(_without_places(parse_yaml(t))) for t in (one, other))
    except yaml.YAMLError:
        return ["config.yaml is damaged"]
    return [key for key in {**first, **second} if first.get(key, ...) != second.get(key, ...)]


def parse_yaml(text: str) -> Any:
    """Return the plain values of a YAML text, by the parser in C where it is installed."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def as_text(config: Mapping[str, Any]) -> str:
    """Return the text of `config.yaml`."""
    return str(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))


def flat_options(node: Any, path: str = "") -> dict[str, Any]:
    """Return the options of a configuration by their dotted names.

    >>> flat_options({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    if not isinstance(node, dict):
        return {path: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flat_options(value, f"{path}.{key}" if path else str(key))
    return flat


def _cannot_be_made(folder: str, option: str, error: OSError) -> str:
    kind, reason = type(error).__name__, error.strerror
    return f"{kind}: the folder {folder} cannot be made ({reason}); set {option}=FOLDER"


def _without_places(config: Any) -> Any:
    """Return a configuration without the folders of a machine: run, data and cache."""
    if not isinstance(config, dict):
        return config
    data = config.get("data")
    cache = {"data": {**data, "cache_dir": None}} if isinstance(data, dict) else {}
    places = {str(Path(config[key]).absolute()): f"<{key}>" for key in PLACES if config.get(key)}
    return moved_paths(absolute_paths({**config, **cache}), places)


def _map_texts(node: Any, change: Callable[[str, str], str], option: str = "") -> Any:
    """Return plain values with every text changed; `change` gets the dotted option and the text."""
    if isinstance(node, Mapping):
        start = f"{option}." if option else ""
        return {key: _map_texts(value, change, f"{start}{key}") for key, value in node.items()}
    if isinstance(node, list):
        return [_map_texts(value, change, option) for value in node]
    return change(option, node) if isinstance(node, str) else node
