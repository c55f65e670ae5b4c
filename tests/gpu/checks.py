"""The checks of `make gpu`: each runs one thing as a user would, and returns what was measured."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from deepsal.data import SaliencyDataModule, SaliencyDataset, osie, popout_dataset
from deepsal.models import STAGES, build_backbone
from deepsal.rf import reverse_correlation
from tests.bench import fields
from tests.bench.harness import ROOT
from tests.bench.pipeline import Size, pipeline_rate, step_rate

SHARE = re.compile(r"receptive fields took (\d+) s, (\d+) % of the training time")


LONGEST = 240
"""Seconds that a process may take."""
LINES = 20
"""How much of what a failed process said is kept."""


class Check(NamedTuple):
    """One line of the table: a value, and the smallest or largest that is good enough.

    A run that has to end has no value; `note` says how it ended where it did not.
    """

    name: str
    value: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    failed: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value is good enough."""
        if self.failed or self.value is None:
            return not self.failed
        low, high = self.at_least, self.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)


class Setting(NamedTuple):
    """What the checks run on: the device, the sizes, and options that make a run of `run.py` small.

    options: of all runs · watching: of those that extract fields · data: of the watched training ·
    pipelines: backbone, size and batch of `images` images, with the share of the step's rate that
    is good enough, percent · noise: backbone, weights, size and pairs of the reverse correlation ·
    bars: rows of `tests.bench.fields`, with the ratio that is good enough · watching_bar: the
    fields' share of a training that is good enough, percent.
    """

    device: str
    options: list[str]
    watching: list[str]
    data: list[str]
    pipelines: list[tuple[str, Size, int]]
    noise: tuple[str, str | None, Size, int]
    images: int
    pipeline_bar: float
    bars: Mapping[str, float]
    watching_bar: float | None


BARS = {
    "fields/vgg16/conv3/480x640": 70.0,
    "fields/vgg16/conv3/480x640/batch": 1.0,
    "fields/vgg16/conv5/480x640": 6.0,
    "fields/vgg16/conv5/480x640/batch": 1.0,
    "fields/resnet50/conv4/224/batch": 1.0,
    "fields/resnet50/conv5/224/batch": 1.0,
}
"""How many times faster than Captum fields have to be; `batch` is a batch of whole images."""


def on_gpu() -> Setting:
    """Return the setting of an NVIDIA GPU: OSIE with DEEPSAL_DATA, generated arrays without."""
    arrays = ["data=popout", "data.dataset.images=[500,100,100]"]
    data = ["data=osie"] if os.environ.get("DEEPSAL_DATA") else arrays
    pipelines = [("vgg16", (480, 640), 16), ("tf_efficientnet_lite0", (480, 640), 32)]
    noise = ("tf_efficientnet_lite0", "efficientnet_lite0", (480, 640), 2048)
    return Setting("cuda", [], [], data, pipelines, noise, 480, 85.0, BARS, 25.0)


def small() -> Setting:
    """Return the smallest setting, on the processor, to see that the checks themselves work."""
    options = ["trainer.accelerator=cpu", "backbone.weights=null"]
    options += ["data.dataset.images=[8,4,2]", "data.batch_size=4"]
    watching = ["rf.stages=[conv1]", "rf.units=2", "rf.patches=1"]
    pipelines = [("resnet18", (64, 64), 4)]
    noise = ("resnet18", None, (64, 64), 8)
    return Setting("cpu", options, watching, ["data=popout"], pipelines, noise, 16, 0.0, {}, None)


def every(setting: Setting, folder: Path) -> Iterator[Check]:
    """Yield all checks, one after the other.

    Args:
        setting: what they run on.
        folder: for the runs.
    """
    lite = ["backbone=efficientnet_lite0", "logger=csv", *setting.options]
    demo = ["trainer=demo", "data=popout", *lite]
    short = ["data=popout", "trainer.max_epochs=1", "rf=none", *lite]
    if setting.device == "cuda":
        tests = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu"]
        yield outcome("the tests marked gpu", process(tests))
    yield from trained("demo", folder / "demo", [*demo, *setting.watching])
    for row in setting.bars:
        yield from survived(row, partial(mapped, row, setting.bars[row], setting.device))
    for backbone, size, batch in setting.pipelines:
        yield from survived(backbone, partial(pipeline, backbone, size, batch, setting))
    yield from survived("reverse correlation", partial(reversely_correlated, setting))
    yield resumed(folder / "killed", [*demo, "rf=none"])
    for name, option in (
        ("float32", "trainer.precision=32-true"),
        ("mixed bfloat16", "trainer.precision=bf16-mixed"),
        ("one process of DDP", "+trainer.strategy=ddp"),
    ):
        yield outcome(name, run(folder / name.replace(" ", "-"), [*short, option]))
    watched = [*setting.data, *lite, *setting.watching]
    yield from trained("watched", folder / "watched", watched, setting.watching_bar)


def survived(name: str, checks: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Yield checks made in this process; an error is a failed one."""
    try:
        yield from checks()
    except Exception as error:
        yield Check(name, note=f"{type(error).__name__}: {error}", failed=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def outcome(name: str, done: subprocess.CompletedProcess[str], value: float | None = None) -> Check:
    """Return how a process ended: with 0, or with a last line that says why not."""
    said = done.stderr if done.stderr.strip() else done.stdout
    lines = [line for line in said.splitlines() if line.strip()] or ["no output"]
    failed = done.returncode != 0
    return Check(name, value, note="\n".join(lines[-LINES:]) if failed else "", failed=failed)


def trained(
    name: str, folder: Path, options: list[str], at_most: float | None = None
) -> Iterator[Check]:
    """Run a training with watching: how long it took, and the fields' share of it in percent."""
    began = time.monotonic()
    done = run(folder, options)
    yield outcome(f"{name}: all, s", done, time.monotonic() - began)
    share = SHARE.search(done.stdout)
    if not share:
        yield Check(f"{name}: fields", note="no fields were extracted", failed=True)
        return
    yield Check(f"{name}: fields, s", float(share[1]))
    yield Check(f"{name}: fields, % of the rest", float(share[2]), at_most=at_most)


def resumed(folder: Path, options: list[str]) -> Check:
    """Kill a training after its first checkpoint and resume it."""
    checkpoint, silent = folder / "checkpoints" / "last.ckpt", subprocess.DEVNULL
    training = subprocess.Popen(command(folder, options), cwd=ROOT, stdout=silent, stderr=silent)
    end = time.monotonic() + LONGEST
    while not checkpoint.is_file() and training.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    training.send_signal(signal.SIGKILL)
    training.wait()
    again = process([sys.executable, "run.py", f"resume={folder}"])
    return outcome("resumed after a kill", again)


def mapped(row: str, at_least: float, device: str) -> Iterator[Check]:
    """Time the fields of a stage against Captum, and compare them."""
    for timed in fields.run(row, device):
        if timed["name"] == row:
            yield Check(f"{row}, ratio", timed["ratio"], at_least)
            apart = timed["max_rel_diff_float64"]
            yield Check(f"{row}, float64 difference", apart, at_most=1e-5)


def reversely_correlated(setting: Setting) -> Iterator[Check]:
    """Measure the fields of all units of all stages with noise on images: reliability, seconds."""
    name, weights, size, pairs = setting.noise
    network = build_backbone(name, weights).eval().to(setting.device)
    samples = SaliencyDataModule(images(setting.images, size), size, flip=0).images["train"]
    background = torch.stack([samples[i].image for i in range(len(samples))])
    began = time.monotonic()
    measured = reverse_correlation(network, STAGES, size, background, pairs=pairs)
    seconds, title = time.monotonic() - began, f"noise/{name}/{size[0]}x{size[1]}"
    yield Check(f"{title}, all units of all stages, s", seconds)
    for stage in STAGES:
        fields = measured[stage]
        yield Check(f"{title}/{stage}, reliability, {fields.pairs} pairs", fields.median)


def pipeline(backbone: str, size: Size, batch: int, setting: Setting) -> Iterator[Check]:
    """Compare the images per second of a whole training with those of its step alone."""
    dataset = images(setting.images, size)
    rate = pipeline_rate(backbone, size, batch, setting.device, dataset=dataset)
    floor = step_rate(backbone, size, batch, setting.device)
    name = f"pipeline/{backbone}/{size[0]}x{size[1]}, % of {floor:.0f} images/s"
    yield Check(name, 100 * rate / floor, setting.pipeline_bar)


def images(count: int, size: Size) -> SaliencyDataset:
    """Return training images: OSIE with DEEPSAL_DATA, generated arrays without."""
    folder = os.environ.get("DEEPSAL_DATA")
    if not folder:
        return popout_dataset((count, 0, 0), size=size)
    whole = osie(folder)
    splits = {"train": list(whole.splits["train"])[:count], "val": [], "test": []}
    return SaliencyDataset(whole.name, whole.stimuli, splits, whole.sigma)


def run(folder: Path, options: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `run.py` in a folder."""
    return process(command(folder, options))


def process(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a process to its end."""
    try:
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"it did not end within {LONGEST} s")


def command(folder: Path, options: list[str]) -> list[str]:
    """Return the command of a run."""
    return [sys.executable, "run.py", *options, f"hydra.run.dir={folder}"]
