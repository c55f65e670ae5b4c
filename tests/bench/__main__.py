"""python -m tests.bench [--only NAME]."""

import argparse

from deepsal.runs.process import configure_process
from tests.bench import fields, loading, mapping, pipeline, scores, training, tuning
from tests.bench.harness import ROOT, keep, show

BENCHMARKS = {
    "fields": fields.run,
    "loading": loading.run,
    "mapping": mapping.run,
    "pipeline": pipeline.run,
    "scores": scores.run,
    "training": training.run,
    "tuning": tuning.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Side-by-side timings, appended to runs/bench/.")
    parser.add_argument(
        "--only", default="", help="fields, mapping, pipeline, training, fields/vgg16/conv4 …"
    )
    only = parser.parse_args().only
    asked = [name for name in BENCHMARKS if name == only.split("/")[0] or not only]
    if not asked:
        parser.error(f"no benchmark {only!r}; there are {', '.join(BENCHMARKS)}")
    configure_process()  # warnings and memory as in a run
    rows = []
    for name in asked:
        for row in BENCHMARKS[name](only):
            keep(row, ROOT / "runs" / "bench" / "bench.json")
            rows.append(row)
    show(rows)


if __name__ == "__main__":
    main()
