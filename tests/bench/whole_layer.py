"""All units of a layer against openerf, which makes one unsigned map of the whole layer."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from openerf import compute_erf
from openerf.data import build_timm_eval_transform
from PIL import Image
from torch import nn

from deepsal.rf import FieldGeometry, ReceptiveFields, map_receptive_fields
from tests.bench.harness import Row, side_by_side

IS = "openerf, one unsigned map of the layer (ours: signed fields of all its units)"


def row(title: str, network: nn.Module, name: str, known: FieldGeometry) -> Row:
    """Return one row at 224. The difference is that of its map and the same made of our fields."""
    assert isinstance(network.features, nn.Sequential)
    last = int(name.removeprefix("features."))
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "noise.png"
        Image.fromarray(noise).save(file)
        image = build_timm_eval_transform(network)[0](Image.open(file))[None]
        with torch.no_grad():
            channels, height, width = network.features[: last + 1](image).shape[1:]
        patches = np.array([[[0, height // 2, width // 2]]] * channels)
        ours = partial(map_receptive_fields, network, name, image, patches, range(channels), known)
        theirs = partial(
            compute_erf,
            model=network,
            image_dir=folder,
            target_layer=name,
            device="cpu",
            show_progress=False,
        )
        return side_by_side(title, ours, theirs, IS, difference=_difference, channels=channels)


def _difference(ours: ReceptiveFields, theirs: object) -> float:
    whole = theirs.erf_map  # type: ignore[attr-defined]
    total = (ours.field * (ours.activation > 0)[:, :, None, None]).sum((0, 1)).clip(0)
    rows, columns = np.nonzero(whole)
    inside = whole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    seen = np.argwhere(total)
    (top, left), (bottom, right) = seen.min(0), seen.max(0) + 1
    mine = total[top:bottom, left:right] / total.sum()
    return float(np.abs(mine - inside).max() / whole.max())
