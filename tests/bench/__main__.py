"""python -m tests.bench [--only NAME]."""

import argparse
import logging
import warnings

from tests.bench import fields, training
from tests.bench.harness import ROOT, report

BENCHMARKS = {"fields": fields.run, "training": training.run}


def main() -> None:
    parser = argparse.ArgumentParser(description="Side-by-side timings, appended to runs/bench/.")
    parser.add_argument("--only", choices=sorted(BENCHMARKS))
    only = parser.parse_args().only
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".isinstance.treespec, LeafSpec.")
    for name in [only] if only else BENCHMARKS:
        report(BENCHMARKS[name](), ROOT / "runs" / "bench" / "bench.json")


if __name__ == "__main__":
    main()
