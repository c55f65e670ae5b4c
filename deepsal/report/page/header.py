"""What was trained, on what, how long, with which code and machine: the head of a page."""

from pathlib import Path
from typing import Any, NamedTuple

from deepsal.report.run_folders import _read_json, read_options, read_status, run_duration


class RunHeader(NamedTuple):
    """The name of a run, how it ended, facts (label, value), and its options as text."""

    name: str
    status: str
    facts: list[tuple[str, str]]
    options: str


def read_header(folder: Path) -> RunHeader:
    """Read a run's description; what it does not have is left out."""
    config = read_options(folder)
    origin = _read_json(folder / "origin.json")
    text = (folder / "config.yaml").read_text() if config else ""
    name = str(config.get("name", folder.name))
    return RunHeader(name, read_status(folder), _run_facts(folder, config, origin), text)


def _run_facts(
    folder: Path, config: dict[str, Any], origin: dict[str, Any]
) -> list[tuple[str, str]]:
    weights = _nested_option(config, "backbone", "weights")
    named = "pre-trained" if weights == _group_name(config, "backbone") else weights
    pretrained = f" ({named})" if isinstance(weights, str) else ""
    commit = str(origin.get("commit") or "")[:12]
    machine = [origin.get("processor"), f"{origin['cores']} cores" if "cores" in origin else None]
    found: list[tuple[str, Any]] = [
        ("backbone", f"{_group_name(config, 'backbone')}{pretrained}" if config else None),
        ("what learns", _group_name(config, "finetune")),
        ("decoder", _group_name(config, "decoder")),
        ("loss", _group_name(config, "loss")),
        ("data", _group_name(config, "data")),
        ("image size", _size_text(_nested_option(config, "data", "size"))),
        ("epochs", _nested_option(config, "trainer", "max_epochs")),
        ("precision", _nested_option(config, "trainer", "precision")),
        ("seed", config.get("seed")),
        ("verbs", ", ".join(map(str, config.get("do") or [])) or None),
        ("started", _start_time(origin)),
        ("took", run_duration(folder)),
        ("commit", f"{commit}{' + changes' if origin.get('dirty') else ''}" if commit else None),
        ("hardware", ", ".join([*map(str, origin.get("gpus") or []), *filter(None, machine)])),
        ("software", " · ".join(f"{k} {origin[k]}" for k in ("python", "torch") if k in origin)),
        ("command", " ".join(map(str, origin.get("command") or []))),
    ]
    return [(label, str(value)) for label, value in found if value not in (None, "")]


def _start_time(origin: dict[str, Any]) -> str | None:
    begun = origin.get("started")
    return begun[:16].replace("T", " ") + " UTC" if isinstance(begun, str) else None


def _nested_option(config: dict[str, Any], *keys: str) -> Any:
    found: Any = config
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _group_name(config: dict[str, Any], group: str) -> Any:
    return _nested_option(config, group, "name")


def _size_text(size: Any) -> str | None:
    return " × ".join(map(str, size)) + " px" if isinstance(size, list) else None
