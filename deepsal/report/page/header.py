"""Header of a run's page: network, data, duration, code and hardware."""

from pathlib import Path
from typing import Any, NamedTuple

from deepsal.runs.folder import read_status
from deepsal.runs.run_records import read_json, read_options, run_duration


class RunHeader(NamedTuple):
    """Name and status of a run, facts (label, value), and its options as text."""

    name: str
    status: str
    facts: list[tuple[str, str]]
    options: str


def read_header(folder: Path) -> RunHeader:
    """Read the header of a run; facts that are not stored are left out."""
    config = read_options(folder)
    text = (folder / "config.yaml").read_text(encoding="utf-8") if config else ""
    facts = _run_facts(folder, config, read_json(folder / "origin.json"))
    status = read_status(folder) or "unknown"
    return RunHeader(str(config.get("name", folder.name)), status, facts, text)


def _run_facts(
    folder: Path, config: dict[str, Any], provenance: dict[str, Any]
) -> list[tuple[str, str]]:
    def option(group: str, key: str = "name") -> Any:
        options = config.get(group)
        return options.get(key) if isinstance(options, dict) else None

    trained = config.get("trained") or {}
    weights, size = option("backbone", "weights"), option("data", "size")
    weights_name = "pre-trained" if weights == option("backbone") else weights
    start, commit = provenance.get("started"), str(provenance.get("commit") or "")[:12]
    started_from = config.get("ckpt") if "fit" in (config.get("do") or ()) else trained.get("start")
    hardware = [*(provenance.get("gpus") or []), provenance.get("processor")]
    hardware += [f"{provenance['cores']} cores"] if "cores" in provenance else []
    software = [f"{key} {provenance[key]}" for key in ("python", "torch") if key in provenance]
    facts: dict[str, Any] = {
        "backbone": option("backbone"),
        "depth": option("finetune"),
        "decoder": option("decoder"),
        "loss": option("loss"),
        "checkpoint": trained.get("checkpoint"),
        "started from": started_from,
        "trained on": trained.get("dataset"),
        "trained with commit": str(trained.get("commit") or "")[:12],
        "data": option("data"),
        "tested on": option("tested"),
        "image size": " × ".join(map(str, size)) + " px" if isinstance(size, list) else None,
        "epochs": trained.get("epochs", option("trainer", "max_epochs")),
        "precision": option("trainer", "precision"),
        "seed": trained.get("seed", config.get("seed")),
        "steps": ", ".join(map(str, config.get("do") or [])),
        "started": f"{start[:16].replace('T', ' ')} UTC" if isinstance(start, str) else None,
        "duration": run_duration(folder),
        "commit": f"{commit}{' + changes' if commit and provenance.get('dirty') else ''}",
        "hardware": ", ".join(map(str, filter(None, hardware))),
        "software": " · ".join(software),
        "command": " ".join(map(str, provenance.get("command") or [])),
    }
    if facts["backbone"] and isinstance(weights, str):
        facts["backbone"] += f" ({weights_name})"
    return [(label, str(value)) for label, value in facts.items() if value not in (None, "")]
