"""What only a GPU can show; `make gpu` runs these too."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torchvision.models import vgg16

from deepsal.callbacks import WatchReceptiveFields
from deepsal.rf import map_receptive_fields, measure_geometry, reverse_correlation, store
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.align import AlignedFieldSum
from deepsal.rf.mapping.field_extraction import FieldExtraction
from deepsal.rf.mapping.methods import FIELD_METHODS
from deepsal.rf.mapping.readout import FieldBatch, FieldRequest, UnitReadout
from deepsal.rf.patches import centred_patches
from tests.conftest import backbone, datamodule, task

pytestmark = pytest.mark.gpu
IMAGES = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("engine", ["windowed", "batch"])
def test_fields_are_those_of_the_processor(engine: str) -> None:
    network = backbone().eval()
    known = measure_geometry(network, "conv3")
    patches = centred_patches(6, 3, known, (64, 96))
    here = map_receptive_fields(network, "conv3", IMAGES, patches, range(6), known)
    there = map_receptive_fields(
        network.cuda(), "conv3", IMAGES, patches, range(6), known, engine=engine
    )
    assert np.abs(here.field - there.field).max() <= 1e-5 * np.abs(here.field).max()
    assert np.allclose(here.activation, there.activation, rtol=1e-5, atol=1e-6)


def test_fields_from_noise_are_those_of_the_processor() -> None:
    network = backbone().eval()
    here = reverse_correlation(network, ["conv1", "conv3"], (64, 96), IMAGES, pairs=64)
    there = reverse_correlation(
        network.cuda(), ["conv1", "conv3"], (64, 96), IMAGES, pairs=64, repeat=here
    )
    for stage, fields in here.items():
        difference = np.abs(fields.field - there[stage].field).max()
        assert difference <= 1e-4 * np.abs(fields.field).max()
        assert np.allclose(fields.reliability, there[stage].reliability, atol=1e-3)


def test_geometry_is_that_of_the_processor() -> None:
    network = vgg16(weights=None).eval()
    assert measure_geometry(network, "features.15") == measure_geometry(
        network.cuda(), "features.15"
    )


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_the_host_waits_for_nothing_inside_a_layer() -> None:
    network = vgg16(weights=None).features.eval().cuda()
    known = measure_geometry(network, "15")
    images = torch.rand(2, 3, 96, 128, device="cuda")
    patches = centred_patches(32, 2, known, (96, 128))
    with temporary_eval_mode(network):
        aligned = AlignedFieldSum(known, (96, 128), (32, 2), 65, images.device)
        extraction = FieldExtraction(
            network, "15", images, range(32), patches, aligned, "gradient", 1
        )
        extraction._raise_if_crop_differs = lambda: None  # type: ignore[method-assign]  # reads once, at the end
        try:
            torch.cuda.set_sync_debug_mode("error")
            extraction.run(1 << 22, "batch")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(aligned.activation).all()


def test_fields_shrink_their_passes_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, image = vgg16(weights=None).eval().cuda(), torch.rand(1, 3, 224, 224)
    known, sizes = measure_geometry(network, "features.22"), []
    patches = centred_patches(256, 1, known, (224, 224))
    read = partial(map_receptive_fields, network, "features.22", image, patches, range(256), known)
    whole = read(engine="batch", pixels_per_pass=8 * 224 * 224)
    gradient = FIELD_METHODS["gradient"]

    def recorded(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
        sizes.append(len(request.crops))
        return gradient(readout, request)

    monkeypatch.setitem(FIELD_METHODS, "gradient", recorded)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    used = torch.cuda.memory_allocated() + (1 << 30)
    torch.cuda.set_per_process_memory_fraction(used / total)
    try:
        small = read(engine="batch", pixels_per_pass=1 << 30)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sizes[0] == 256
    assert 1 <= sizes[-1] < 256
    assert np.abs(whole.field - small.field).max() <= 1e-4 * np.abs(whole.field).max()


def test_a_training_in_tf32_or_bfloat16_is_watched_in_float32(tmp_path: Path) -> None:
    for precision in ("32-true", "bf16-mixed"):
        pl.seed_everything(0, verbose=False)
        watching = WatchReceptiveFields(
            tmp_path / precision, units=4, patches=2, window=33, tuning=False
        )
        pl.Trainer(
            max_epochs=1,
            accelerator="cuda",
            devices=1,
            precision=precision,
            logger=False,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[watching],
        ).fit(task(), datamodule())
    one, other = (tmp_path / p / "fields" / "epoch=000.npz" for p in ("32-true", "bf16-mixed"))
    for entry in store.entry_names(one):
        first, second = store.load_fields(one, entry).field, store.load_fields(other, entry).field
        assert np.abs(first - second).max() <= 1e-5 * np.abs(first).max()


def test_a_unit_that_looks_at_the_whole_image_is_read_on_it() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)).eval().cuda()
    found = map_receptive_fields(network, "1", IMAGES, np.zeros((2, 1, 3), dtype=np.int64), [0, 1])
    assert np.isfinite(found.field).all()
