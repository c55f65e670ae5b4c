"""`python -m tests.chaos --runs 20 --sweeps 4`: how many interrupted runs and sweeps lose nothing.

Each of `--runs` is killed or preempted at random moments and resumed. Each of `--sweeps` gets a
signal and is moved, copied or left, once or twice, and is resumed; then two runs start at once, in
one folder or each in its own.
"""

import argparse
import tempfile
from pathlib import Path

from tests.chaos import runs, signals

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=20)
parser.add_argument("--sweeps", type=int, default=2)
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
    whole = 0
    if options.sweeps:
        span = signals.finish_sweep(folder / "sweep")
    for seed in range(options.seed, options.seed + options.sweeps):
        said = signals.chaos(folder / f"s{seed}", folder / "sweep", span, seed)
        whole += said.endswith("bit-equal")
        print(said, flush=True)  # noqa: T201
    print(f"{whole} of {options.sweeps} sweeps bit-equal")  # noqa: T201
raise SystemExit(equal < options.runs or whole < options.sweeps)
