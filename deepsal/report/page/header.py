"""What was trained, on what, how long, with which code and machine: the head of a page."""

from pathlib import Path
from typing import Any, NamedTuple

from deepsal.report.run_folders import _json, options, status, took


class Header(NamedTuple):
    """The name of a run, how it ended, facts (label, value), and its options as text."""

    name: str
    status: str
    facts: list[tuple[str, str]]
    options: str


def header(folder: Path) -> Header:
    """Read a run's description; what it does not have is left out."""
    config = options(folder)
    origin = _json(folder / "origin.json")
    text = (folder / "config.yaml").read_text() if config else ""
    name = str(config.get("name", folder.name))
    return Header(name, status(folder), _facts(folder, config, origin), text)


def _facts(folder: Path, config: dict[str, Any], origin: dict[str, Any]) -> list[tuple[str, str]]:
    weights = _at(config, "backbone", "weights")
    named = "pre-trained" if weights == _name(config, "backbone") else weights
    pretrained = f" ({named})" if isinstance(weights, str) else ""
    commit = str(origin.get("commit") or "")[:12]
    machine = [origin.get("processor"), f"{origin['cores']} cores" if "cores" in origin else None]
    found: list[tuple[str, Any]] = [
        ("backbone", f"{_name(config, 'backbone')}{pretrained}" if config else None),
        ("what learns", _name(config, "finetune")),
        ("decoder", _name(config, "decoder")),
        ("loss", _name(config, "loss")),
        ("data", _name(config, "data")),
        ("image size", _size(_at(config, "data", "size"))),
        ("epochs", _at(config, "trainer", "max_epochs")),
        ("precision", _at(config, "trainer", "precision")),
        ("seed", config.get("seed")),
        ("verbs", ", ".join(map(str, config.get("do") or [])) or None),
        ("started", _started(origin)),
        ("took", took(folder)),
        ("commit", f"{commit}{' + changes' if origin.get('dirty') else ''}" if commit else None),
        ("hardware", ", ".join([*map(str, origin.get("gpus") or []), *filter(None, machine)])),
        ("software", " · ".join(f"{k} {origin[k]}" for k in ("python", "torch") if k in origin)),
        ("command", " ".join(map(str, origin.get("command") or []))),
    ]
    return [(label, str(value)) for label, value in found if value not in (None, "")]


def _started(origin: dict[str, Any]) -> str | None:
    begun = origin.get("started")
    return begun[:16].replace("T", " ") + " UTC" if isinstance(begun, str) else None


def _at(config: dict[str, Any], *keys: str) -> Any:
    found: Any = config
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _name(config: dict[str, Any], group: str) -> Any:
    return _at(config, group, "name")


def _size(size: Any) -> str | None:
    return " × ".join(map(str, size)) + " px" if isinstance(size, list) else None
