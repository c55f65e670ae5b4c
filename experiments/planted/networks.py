"""Measure planted units inside networks: which surrounds a field shows, and which size tuning.

python experiments/planted/networks.py [--units 8] [--to FOLDER]

Writes networks.csv (a row per network, number of noise pairs and kind of unit) and networks.png.
Needs no data and no training.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf import (
    GratingProtocol,
    NoiseFields,
    fit_field_models,
    is_centre_surround,
    record_grating_responses,
    reverse_correlation,
    size_tuning_indices,
)
from deepsal.rf.mapping.cell_noise import COLOUR_DIRECTIONS
from deepsal.rf.tuning.size_tuning import SUPPRESSED
from deepsal.statistics import finite_median

STRIDES = (2, 4, 8)
PAIR_COUNTS = (64, 512)
MAP_SIDE = 32
"""Side of the layer's map; the image is `stride` times as large."""
KERNEL_SIDE, CENTRE_WIDTH, POOL_WIDTH = 17, 1.3, 2.6
"""Side of a kernel, deviation of a centre and of the pool of a nonlinear surround, map samples."""
LUMINANCE, RED_GREEN = 0, 1
"""Rows of `COLOUR_DIRECTIONS`."""


class PlantedKind(NamedTuple):
    """Kind of planted units: linear field, colour, and nonlinear surround."""

    shape: str
    k: float = 0.0
    centre_colour: tuple[float, float, float] = (1, 1, 1)
    surround_colour: tuple[float, float, float] | None = None
    light: float = 0.0
    """Weight of a surround that is driven by light or dark, |x|."""
    contrast: float = 0.0
    """Weight of a surround that is driven by local contrast, |x − blurred x|."""
    divides: bool = False

    @property
    def axis(self) -> int:
        """Row of `COLOUR_DIRECTIONS` on which the centre lies."""
        return RED_GREEN if self.centre_colour == (1, -1, 0) else LUMINANCE


KINDS = {
    "DoG, k .3": PlantedKind("dog", 0.3),
    "DoG, k .55": PlantedKind("dog", 0.55),
    "DoG, k .9": PlantedKind("dog", 0.9),
    "Gaussian": PlantedKind("dog"),
    "Gabor": PlantedKind("gabor"),
    "random kernel": PlantedKind("random"),
    "R−G centre": PlantedKind("dog", 0.0, (1, -1, 0)),
    "R centre, G surround, k .9": PlantedKind("dog", 0.9, (1, 0, 0), (0, 1, 0)),
    "R−G centre, G−R surround, k .9": PlantedKind("dog", 0.9, (1, -1, 0)),
    "subtractive, light": PlantedKind("dog", light=0.8),
    "divisive, light": PlantedKind("dog", light=6.0, divides=True),
    "subtractive, contrast": PlantedKind("dog", contrast=2.0),
    "divisive, contrast": PlantedKind("dog", contrast=20.0, divides=True),
}


class PlantedUnits(nn.Module):
    """Units z = c − S or c / (1 + S): a linear field c and a nonlinear surround S.

    Args:
        bank: linear fields (U, 3, side, side), on red, green and blue.
        kinds: (U,), the kind of each unit.
        scale: (6,), gains of the ON and OFF channels of red, green and blue that come in.
    """

    def __init__(self, bank: Tensor, kinds: list[PlantedKind], scale: Tensor) -> None:
        super().__init__()
        side = bank.shape[-1]
        self.linear = nn.Conv2d(6, len(bank), side, padding=side // 2, bias=False)
        self.linear.weight.data = torch.cat([bank, -bank], 1) / scale.view(1, 6, 1, 1)
        self.light = nn.Conv2d(6, 1, 1, bias=False)
        self.light.weight.data = (1 / (3 * scale)).view(1, 6, 1, 1)
        self.detector = nn.Conv2d(6, 1, 5, padding=2, bias=False)
        at = torch.arange(5.0) - 2
        fine = -gaussian(at, at, 1.2)
        fine[2, 2] += 1
        signs = torch.tensor([1.0, 1, 1, -1, -1, -1])
        self.detector.weight.data = (signs / (3 * scale)).view(1, 6, 1, 1) * fine
        self.pool = nn.Conv2d(2, 2, side, padding=side // 2, groups=2, bias=False)
        at = torch.arange(float(side)) - side // 2
        self.pool.weight.data = gaussian(at, at, POOL_WIDTH).expand(2, 1, -1, -1).clone()
        self.weights = nn.Conv2d(2, len(bank), 1, bias=False)
        drives = torch.tensor([[kind.light, kind.contrast] for kind in kinds])
        self.weights.weight.data = drives[:, :, None, None]
        self.divides = torch.tensor([kind.divides for kind in kinds]).view(-1, 1, 1)

    def forward(self, code: Tensor) -> Tensor:
        """Return z (B, U, h, w) of an ON/OFF code (B, 6, h, w)."""
        linear = self.linear(code)
        drive = torch.cat([self.light(code), self.detector(code).abs()], 1)
        surround = self.weights(self.pool(drive))
        return torch.where(self.divides, linear / (1 + surround), linear - surround)


def main() -> None:
    """Measure all networks, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--units", type=int, default=8, help="per kind, half of them OFF")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    table = pd.DataFrame(network_rows(arguments.units))
    table.to_csv(arguments.to / "networks.csv", index=False, float_format="%.4g")
    draw_networks(table).savefig(arguments.to / "networks.png")
    columns = ["called_luminance", "called_red_green", "suppressed", "suppressed_grating"]
    print(table.groupby(["pairs", "kind"], sort=False)[columns].mean().to_string())


def network_rows(units: int) -> Iterator[dict[str, object]]:
    """Yield the recovery of each kind of unit in each network at each number of pairs."""
    for stride in STRIDES:
        network, places = planted_network(stride, units)
        size = stride * MAP_SIDE, stride * MAP_SIDE
        tuning = measure_tuning(network, stride)
        for pairs in PAIR_COUNTS:
            fields = reverse_correlation(network, ["2"], size, pairs=pairs)["2"]
            for row, (name, kind) in enumerate(KINDS.items()):
                of_kind = slice(row * units, (row + 1) * units)
                yield {
                    "stride": stride,
                    "pairs": pairs,
                    "kind": name,
                    "cell": fields.cell,
                    "reliability": finite_median(fields.reliability[of_kind]),
                    **measure_kind(fields, kind, of_kind, places[of_kind]),
                    "ssi": finite_median(tuning["disk_ssi"][of_kind]),
                    "suppressed": (tuning["disk_ssi"][of_kind] >= SUPPRESSED).mean(),
                    "ssi_grating": finite_median(tuning["ssi"][of_kind]),
                    "suppressed_grating": (tuning["ssi"][of_kind] >= SUPPRESSED).mean(),
                }


def measure_tuning(network: nn.Module, stride: int) -> dict[str, NDArray[np.float64]]:
    """Return the size tuning of all units, rectified at their response to grey.

    Gratings and disks are scaled to the layer's map: 7 samples are one degree.
    """
    scale = 7.0 * stride
    protocol = GratingProtocol(
        pixels_per_degree=scale,
        display=stride * MAP_SIDE / scale,
        radius=GratingProtocol().radius[:10],
        frequency=(0.385, 0.771, 1.542, 3.084),
        tuning_frequency=(),
    )
    of = record_grating_responses(network, ["2"], protocol)["2"]
    gratings, disks = of.gratings.T - of.blank, of.disks.T - of.blank
    change = replace(of, gratings=gratings.T, disks=disks.T, blank=np.zeros_like(of.blank))
    return size_tuning_indices(change).index


def measure_kind(
    fields: NoiseFields, kind: PlantedKind, of_kind: slice, places: NDArray[np.float64]
) -> dict[str, float]:
    """Measure the fields of the units of one kind.

    Returns:
        k, distance of the centre from its place in pixels and share with the planted sign (ON or
        OFF), on the planted colour axis; NaN for a kind that is no difference of Gaussians. Shares
        called centre-surround on the luminance and on the red–green axis, fitted to half of the
        noise and tested on the other.
    """
    halves = [fields.blocks[half::2, of_kind].mean(0) for half in (0, 1)]
    fits = [
        fit_field_models(*(np.einsum("ucyx,c->uyx", half, direction) for half in halves))
        for direction in COLOUR_DIRECTIONS[[LUMINANCE, RED_GREEN]]
    ]
    planted = fits[kind.axis]
    centre = planted.dog[:, 4:6] * fields.step + fields.origin
    signs = np.where(np.arange(len(places)) % 2, 1, -1)
    is_dog = kind.shape == "dog"
    return {
        "k": finite_median(planted.k) if is_dog else math.nan,
        "place_error": finite_median(np.hypot(*(centre - places).T)) if is_dog else math.nan,
        "sign": float((np.sign(planted.dog[:, 0]) == signs).mean()) if is_dog else math.nan,
        "called_luminance": float(is_centre_surround(fits[LUMINANCE]).mean()),
        "called_red_green": float(is_centre_surround(fits[RED_GREEN]).mean()),
    }


def planted_network(stride: int, units: int) -> tuple[nn.Module, NDArray[np.float64]]:
    """Return a network with `units` units of each kind, and the places of their centres (U, 2).

    log₂(stride) blocks of a strided convolution, batch norm and a rectifier carry an ON/OFF code of
    red, green and blue, which loses nothing but resolution: relu(x) − relu(−x) = x. Then come the
    units, batch norm and a rectifier. Places are pixels from the position of the unit.
    """
    random = np.random.default_rng(stride)
    scale, blocks = torch.ones(6), []
    for index in range(round(math.log2(stride))):
        block, scale = _reduction(scale, first=index == 0, random=random)
        blocks.append(block)
    kinds = [kind for kind in KINDS.values() for _ in range(units)]
    planted = [plant_field(kind, 1 if i % 2 else -1, random) for i, kind in enumerate(kinds)]
    bank, places = torch.stack([field for field, _ in planted]), [place for _, place in planted]
    network = nn.Sequential(
        nn.Sequential(*blocks),
        nn.Sequential(PlantedUnits(bank, kinds, scale), _batch_norm(len(kinds), 0.3, random)),
        nn.ReLU(),
    )
    return network.eval(), stride * np.array(places)


def plant_field(
    kind: PlantedKind, sign: int, random: np.random.Generator
) -> tuple[Tensor, tuple[float, float]]:
    """Return a field (3, side, side) on a layer's map, and its centre in map samples."""
    y, x = random.uniform(-1, 1, 2)
    at = torch.arange(float(KERNEL_SIDE)) - KERNEL_SIDE // 2
    dy, dx = at - y, at - x
    centre = gaussian(dy, dx, CENTRE_WIDTH)
    if kind.shape == "gabor":
        angle, phase = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi)
        across = dy[:, None] * math.sin(angle) + dx * math.cos(angle)
        wave = torch.cos(2 * np.pi * 0.2 * across + phase)
        luminance = gaussian(dy, dx, 1.5 * CENTRE_WIDTH) * wave
    elif kind.shape == "random":
        noise = torch.as_tensor(random.normal(size=(KERNEL_SIDE, KERNEL_SIDE)))
        luminance = gaussian(dy, dx, 2 * CENTRE_WIDTH) * noise
    else:
        surround = kind.k * gaussian(dy, dx, random.uniform(1.7, 2.3) * CENTRE_WIDTH)
        inner = torch.tensor(kind.centre_colour).view(3, 1, 1) * centre
        outer = torch.tensor(kind.surround_colour or kind.centre_colour).view(3, 1, 1) * surround
        return sign * (inner - outer).float() / 3, (y, x)
    return sign * luminance.float().expand(3, -1, -1) / 3, (y, x)


def gaussian(dy: Tensor, dx: Tensor, sigma: float) -> Tensor:
    """Return a round Gaussian of volume 1."""
    return torch.exp(-(dy[:, None] ** 2 + dx**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def _reduction(scale: Tensor, first: bool, random: np.random.Generator) -> tuple[nn.Module, Tensor]:
    """Return a block that halves the resolution of the code, and the gains of its channels."""
    blur = torch.tensor([1.0, 2, 1]) / 4
    kernel = torch.eye(3).view(3, 3, 1, 1) * blur[:, None] * blur
    signed = kernel if first else torch.cat([kernel, -kernel], 1) / scale.view(1, 6, 1, 1)
    convolution = nn.Conv2d(3 if first else 6, 6, 3, 2, padding=1, bias=False)
    convolution.weight.data = torch.cat([signed, -signed])
    norm = _batch_norm(6, 0.0, random)
    if first:  # grey is where both rectifiers of a pair are silent
        norm.running_mean = torch.tensor([0.5, 0.5, 0.5, -0.5, -0.5, -0.5])
    gain = (
        norm.weight.data / (torch.ones(6) if norm.running_var is None else norm.running_var).sqrt()
    )
    return nn.Sequential(convolution, norm, nn.ReLU()), gain


def _batch_norm(channels: int, mean: float, random: np.random.Generator) -> nn.BatchNorm2d:
    """Return batch norm with a mean, and with variances and gains of its own for each channel."""
    norm = nn.BatchNorm2d(channels, eps=0.0)
    norm.running_mean = torch.full((channels,), mean)
    norm.running_var = torch.as_tensor(random.uniform(0.25, 4, channels)).float()
    norm.weight.data = torch.as_tensor(random.uniform(0.5, 2, channels)).float()
    return norm


def draw_networks(table: pd.DataFrame) -> Figure:
    """Draw for each kind the shares that fields and size tuning call centre-surround."""
    figure = Figure(figsize=(11.6, 5.0), dpi=100, layout="constrained", facecolor="white")
    panels = {
        "called_luminance": "luminance field:\ncentre-surround",
        "called_red_green": "red–green field:\ncentre-surround",
        "suppressed": "size tuning by disks:\nindex ≥ .1",
        "suppressed_grating": "size tuning by gratings:\nindex ≥ .1",
    }
    axes = figure.subplots(1, len(panels), sharey=True)
    names = [*KINDS]
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        for (stride, marker), pairs in product(zip(STRIDES, "os^", strict=True), PAIR_COUNTS):
            if column.startswith("suppressed") and pairs == PAIR_COUNTS[0]:
                continue  # size tuning needs no noise
            cells = table[(table["stride"] == stride) & (table["pairs"] == pairs)]
            rows = [
                names.index(kind) + 0.25 * (STRIDES.index(stride) - 1) for kind in cells["kind"]
            ]
            colour = f"C{STRIDES.index(stride)}"
            face = colour if pairs == PAIR_COUNTS[1] else "white"
            label = f"stride {stride}, {pairs} pairs"
            axis.plot(cells[column], rows, marker, ms=5, color=colour, mfc=face, label=label)
        axis.set_title(title, fontsize=10)
        axis.set(xlim=(-0.05, 1.05), xlabel="share of units")
        axis.set_yticks(range(len(names)), names)
        for row in range(len(names) - 1):
            axis.axhline(row + 0.5, color="0.9", lw=0.8, zorder=0)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
