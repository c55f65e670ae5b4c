"""`python -m tests.chaos --runs 20 --seed 0`: how many killed runs end as if nothing happened."""

import argparse
import tempfile
from pathlib import Path

from tests.chaos import runs

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    span = runs.finish(folder / "reference")
    print(f"uninterrupted: {span:.1f} s of work", flush=True)  # noqa: T201
    equal = 0
    for seed in range(options.seed, options.seed + options.runs):
        said = runs.chaos(folder / str(seed), folder / "reference", span, seed)
        equal += said.endswith("bit-equal")
        print(said, flush=True)  # noqa: T201
    print(f"{equal} of {options.runs} bit-equal")  # noqa: T201
raise SystemExit(equal < options.runs)
