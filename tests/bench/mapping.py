"""Fields of reliability .9 of all units of a stage: reverse correlation against other ways."""

import os
import runpy
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from captum.attr import NeuronGradient
from rich.console import Console
from torch import Tensor, nn

from deepsal.data import SaliencyDataModule, osie, popout_dataset
from deepsal.models import build_backbone
from deepsal.rf import NoiseFields, measure_geometry, reverse_correlation
from deepsal.rf.measures.reliability import pairs_needed, split_half_reliability
from tests.bench.harness import ROOT, Row, peak_memory

STUDY = runpy.run_path(str(ROOT / "experiments" / "reliability" / "measure.py"))
TARGET = 0.9
IMAGE_COUNT = 344
GRADIENTS = {"conv2": (24, 128), "conv3": (40, 128), "conv4": (8, 64)}
"""Units and patches per unit of our gradients; what all units need is extrapolated."""
WHITE_NOISE_PATCHES = {"conv2": 64, "conv3": 64, "conv4": 16}
LOOPED_UNITS, LOOPED_PATCHES = 4, 8


def run(only: str) -> Iterator[Row]:
    """Yield three rows per stage, in CPU seconds; OSIE with DEEPSAL_DATA, else pop-out arrays."""
    network = build_backbone("tf_efficientnet_lite0", "efficientnet_lite0").eval()
    images = _images(STUDY["SIZE"])
    for stage in GRADIENTS:
        if only.split("/")[1:2] in ([], [stage]):
            yield from _rows(network, stage, images)


def _images(size: tuple[int, int]) -> Tensor:
    data_dir = os.environ.get("DEEPSAL_DATA")
    data = osie(data_dir) if data_dir else popout_dataset((IMAGE_COUNT, 0, 0), size=size)
    samples = SaliencyDataModule(data, size, flip=0).images["train"]
    return torch.stack([samples[i].image for i in range(IMAGE_COUNT)])


def _rows(network: nn.Module, stage: str, images: Tensor) -> Iterator[Row]:
    measure = partial(
        reverse_correlation,
        network,
        [stage],
        STUDY["SIZE"],
        images,
        target=TARGET,
        known={stage: measure_geometry(network, stage)},
    )
    measure(pairs=8)  # not timed
    fields, ours, peak = _timed(measure)
    like: NoiseFields = fields[stage]
    units = len(like.units)
    common: Row = {"ours_s": ours, "ours_peak_mb": peak, "ours_fields_per_s": units / ours}
    common |= {"units": units, "reliability": like.median, "pairs": like.pairs, "cell": like.cell}

    def row(way: str, seconds: float, peak: float, needed: float, text: str) -> Row:
        rate = units / seconds
        text = f"{text}, to {units} units x {needed:.0f} patches for reliability {TARGET}"
        Console().print(f"mapping/{stage}/{way}: {units / ours:.3g} against {rate:.3g} per CPU s")
        return {
            "name": f"mapping/{stage}/{way}",
            **common,
            "reference": text,
            "reference_s": seconds,
            "reference_peak_mb": peak,
            "reference_fields_per_s": rate,
            "ratio": seconds / ours,
            "patches_needed": needed,
        }

    means = partial(STUDY["patch_mean_blocks"], network, stage, like, images)
    some, patches = GRADIENTS[stage]
    needed, seconds, peak = _needed(partial(means, some, patches), patches)
    text = "our gradients, one position of an image for all units; extrapolated from "
    scaled = seconds * units / some * needed / patches
    yield row("engine", scaled, peak, needed, f"{text}{some} x {patches}")
    _, seconds, peak = _timed(partial(_loop, network, stage, images))
    scaled = seconds * units / LOOPED_UNITS * needed / LOOPED_PATCHES
    text = "loop over Captum's NeuronGradient on whole images; extrapolated from "
    yield row("captum", scaled, peak, needed, f"{text}{LOOPED_UNITS} x {LOOPED_PATCHES}")
    patches = WHITE_NOISE_PATCHES[stage]
    needed, seconds, peak = _needed(partial(means, units, patches, "sta"), patches)
    text = "white pixels (sta), 32 pairs a patch, one position for all units; extrapolated from "
    yield row("sta", seconds * needed / patches, peak, needed, f"{text}{units} x {patches}")


def _timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result, CPU seconds and the peak of memory in MB."""

    def run() -> tuple[Any, float]:
        began = time.process_time()
        return call(), time.process_time() - began

    (result, seconds), peak = peak_memory(run)
    return result, seconds, peak


def _needed(means: Callable[[], Any], patches: int) -> tuple[float, float, float]:
    """Return the patches that the target takes, CPU seconds and peak of the patches at hand."""
    (blocks, _), seconds, peak = _timed(means)
    reliability = np.nanmedian(split_half_reliability(blocks))
    return float(pairs_needed(np.array(reliability), patches, TARGET)), seconds, peak


def _loop(network: nn.Module, stage: str, images: Tensor) -> None:
    captum = NeuronGradient(network, network.get_submodule(stage))
    with torch.no_grad():
        height, width = (side // 2 for side in _map_size(network, stage, images[:1]))
    for image in images[:LOOPED_PATCHES]:
        for unit in range(LOOPED_UNITS):
            captum.attribute(image[None].clone().requires_grad_(), (unit, height, width))


def _map_size(network: nn.Module, stage: str, image: Tensor) -> tuple[int, int]:
    sides: list[tuple[int, int]] = []
    handle = network.get_submodule(stage).register_forward_hook(
        lambda _module, _inputs, output: sides.append(output.shape[-2:])
    )
    network(image)
    handle.remove()
    return sides[0]
