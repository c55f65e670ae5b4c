"""Allow-list of the objects that a configuration may build."""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any

from deepsal.runs.option_ranges import dataset_options

PARTS = ("task", "data", "callbacks", "logger", "trainer", "claims", "v1", "export")
"""Parts of a configuration that become objects."""
COLLECTIONS = ("callbacks", "logger")
"""Those that hold objects by their names. An empty value leaves one out, and so does the option
`none` of its group (`rf=none`), whatever else a study sets in that group."""

ALLOWED_PACKAGES = ("deepsal.", "torch.", "torchvision.", "pytorch_lightning.")
NAMED_TARGETS = {
    "deepsal.models.build_backbone",
    "deepsal.data.fetch_if_missing",
    "deepsal.training.wandb_log.WeightsAndBiases",
}
"""Targets with an argument `name`; everywhere else `name` is an option's label."""


def allowed_parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `PARTS` of a configuration; see `allowed_targets`.

    Raises:
        ValueError: as `allowed_targets`; or a callback or logger has options and no `_target_`.
    """
    options = dataset_options(config)
    parts = {part: allowed_targets(config[part], part, options) for part in PARTS}
    for part in COLLECTIONS:
        for name, node in parts[part].items():
            if node and "_target_" in node:
                continue
            if not node or config[part][name].get("name") == "none":
                parts[part][name] = None
            else:
                option, *_ = node
                raise ValueError(
                    f"{part}.{name} has no _target_, so {part}.{name}.{option} changes nothing; "
                    f"choose a file of conf/{part} that has it, or leave the option out"
                )
    return parts


def allowed_targets(node: Any, path: str, options: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Return a part of a configuration without the labels, if it builds allowed objects only.

    Args:
        node: plain values: dicts, lists and scalars.
        path: the part's dotted name, for the error.
        options: see `dataset_options`.

    Returns:
        The same values without the key `name`, except for `NAMED_TARGETS`.

    Raises:
        ValueError: a `_target_` is not in an allowed package, by its name or where it is defined;
            or a mandatory value (`???`) is missing.
        ImportError: a package that a target imports is not installed.
    """
    if node == "???":
        option = path.removeprefix("task.") if path.startswith("task.network.") else path
        for place, name in options.items():
            option = option.replace(f"{place}.", f"{name}.")
        raise ValueError(f"{option} is missing; set {option}=VALUE")
    if isinstance(node, list):
        return [allowed_targets(value, f"{path}[{i}]", options) for i, value in enumerate(node)]
    if not isinstance(node, dict):
        return node
    target = node.get("_target_")
    if target and not _is_allowed(target):
        packages = ", ".join(ALLOWED_PACKAGES)
        raise ValueError(f"{path}._target_={target} is nothing that may be built from {packages}")
    return {
        key: allowed_targets(value, f"{path}.{key}", options)
        for key, value in node.items()
        if key != "name" or target in NAMED_TARGETS
    }


def build_part(node: Any, path: str) -> Any:
    """Build the object of a part of a configuration, as `run.py` does, without Hydra.

    Args:
        node: plain values, see `allowed_targets`.
        path: the part's dotted name, for errors.

    Raises:
        ValueError: as `allowed_targets`; or a target does not take these arguments.
    """
    try:
        return _built(allowed_targets(node, path))
    except TypeError as error:
        raise ValueError(f"{path} cannot be built by this version ({error})") from error


def _built(node: Any) -> Any:
    if isinstance(node, list):
        return [_built(value) for value in node]
    if not isinstance(node, dict):
        return node
    values = {k: _built(value) for k, value in node.items() if k not in {"_target_", "_partial_"}}
    if "_target_" not in node:
        return values
    build = resolve_name(node["_target_"])
    return partial(build, **values) if node.get("_partial_") else build(**values)


def _is_allowed(target: object) -> bool:
    if not isinstance(target, str) or not target.startswith(ALLOWED_PACKAGES):
        return False
    try:
        module = getattr(resolve_name(target), "__module__", "")
    except (ImportError, AttributeError, ValueError):
        _raise_missing_package(target)
        return False
    return f"{module}.".startswith(ALLOWED_PACKAGES)


def _raise_missing_package(target: str) -> None:
    """Raise the ImportError of a target's module if a package that it imports is missing."""
    try:
        import_module(target.rpartition(".")[0])
    except ImportError as error:
        if error.name and not target.startswith(error.name):
            raise
