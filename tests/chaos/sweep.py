"""`python -m tests.chaos.sweep`: twelve jobs, two failing by design, one killed; then again."""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepsal.runs.process import fresh_environment
from tests.chaos.runs import ROOT, TINY

SWEPT = ("backbone=", "rf.units=", "trainer.max_epochs=")
SWEEP = [
    "-m",
    "backbone=resnet18,alexnet",
    "finetune=none,conv4,all",
    "seed=0,1",
    "trainer.max_epochs=1",
    "+fails={alexnet-conv4: 0}",  # rf.units=0 is refused
    "rf.units='${oc.select:fails.${backbone.name}-${finetune.name},1}'",
    *(option for option in TINY if not option.startswith(SWEPT)),
]
VICTIM = "4-*"


def sweep(folder: Path, kills: bool = False) -> tuple[int, str]:
    """Run the sweep, kill -9 one of its jobs if asked to; return exit code and output."""
    command = [sys.executable, "run.py", *SWEEP, f"hydra.sweep.dir={folder}"]
    variables = {**fresh_environment(os.environ), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    with tempfile.TemporaryFile("w+") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=file, stderr=file)
        while kills and process.poll() is None:
            time.sleep(0.1)
            for job in folder.glob(VICTIM):
                found = subprocess.run(
                    ["pgrep", "-f", f"resume={job}"], capture_output=True, text=True, check=False
                )
                for number in found.stdout.split() if (job / "status").is_file() else ():
                    os.kill(int(number), signal.SIGKILL)
                    kills = False
        process.wait()
        file.seek(0)
        return process.returncode, file.read()


def states(folder: Path) -> dict[str, float]:
    """Return the jobs that are done and when each was."""
    return {file.parent.name: file.stat().st_mtime for file in folder.glob("*/done")}


def main() -> None:
    """Run the sweep twice, and say what each came to."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "sweep"
        before: dict[str, float] = {}
        for kill, expected in ((True, 9), (False, 10)):
            code, said = sweep(place, kill)
            after = states(place)
            print(re.sub(r"(?s).*?(?=\n[^\n]*failed|\Z)", "", said, count=1)[-3000:])  # noqa: T201
            print(f"exit code {code}, {len(after)} done")  # noqa: T201
            assert code == 1, "two fail"
            assert len(after) == expected, said
            assert all(after[job] == when for job, when in before.items()), "done is done"
            before = after


if __name__ == "__main__":
    main()
