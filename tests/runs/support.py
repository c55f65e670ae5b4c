"""Small run folders for the tests of lists of runs."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import yaml

from deepsal.runs.folder import mark_done
from deepsal.runs.heartbeat import Worker, machine_identity, process_start
from deepsal.runs.paths import flat_options


def write_small_run(folder: Path, status: str = "done", **options: Any) -> Path:
    """Write the files of a run: `config.yaml`, `status`, `origin.json`, marker, checkpoint.

    Args:
        folder: the run folder.
        status: of the run; `alive` is running, with this process as its worker.
        options: of the configuration, set by the command line; `nss` is the score of a test, `val`
            that of a validation, and `hour` when the run began.
    """
    hour, nss, val = options.pop("hour", 1), options.pop("nss", None), options.pop("val", None)
    folder.mkdir(parents=True)
    config = {"do": ["fit", "test"], "metric": "val/nss", "seed": 0, "data_dir": "/data"}
    config |= {"backbone": {"name": "vgg16", "weights": "A"}, "data": {"name": "osie"}}
    config |= {"output_dir": str(folder), "rf": {"folder": str(folder)}, **options}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    written = "running" if status == "alive" else status
    (folder / "status").write_text(f"{written}\n")
    origin: dict[str, Any] = {
        "started": f"2026-11-26T{hour:02}:00:00+00:00",
        "commit": "abcdef0123456789",
    }
    origin |= {"dirty": True, "command": ["run.py", "seed=1"], "processor": "CPU", "gpus": []}
    (folder / "origin.json").write_text(json.dumps(origin))
    overrides = [f"{k.removesuffix('.name')}={v}\n" for k, v in flat_options(options).items()]
    (folder / "overrides.txt").write_text("".join(overrides))
    if status == "done":
        mark_done(folder, nss)
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "best.ckpt").write_bytes(b"x" * 2000)
    if status == "alive":
        pid = os.getpid()
        place = machine_identity(), folder.stat().st_ino
        worker = Worker(socket.gethostname(), pid, "now", process_start(pid), *place)
        (folder / "worker.json").write_text(json.dumps(worker._asdict()))
    if nss is not None:
        means = {"nss": {"mean": nss, "low": nss - 0.1, "high": nss + 0.1, "count": 9}}
        summary = {"dataset": options.get("tested_on", "OSIE"), "scores": {"run": means}}
        (folder / "scores.json").write_text(json.dumps(summary))
    if val is not None:
        rows = f"0,9,,\n0,10,{val - 1},0.5\n1,20,{val},0.25\n2,30,{val - 0.5},0.1\n"
        (folder / "metrics.csv").write_text(f"epoch,step,val/nss,val/kl\n{rows}")
    return folder
