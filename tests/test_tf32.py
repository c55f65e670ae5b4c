"""Lower arithmetic precision never makes a run fail, and never enters a field or a test score."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from deepsal.callbacks import WatchReceptiveFields
from deepsal.data import SaliencyDataModule, osie
from deepsal.models import build_backbone
from deepsal.rf import map_receptive_fields, measure_geometry, store
from deepsal.rf.patches import centred_patches
from deepsal.runs.claims import ClaimEvaluation
from deepsal.training.task import SaliencyTask
from tests import conftest
from tests.tf32 import Tf32


@pytest.fixture
def tf32() -> Iterator[Tf32]:
    torch.set_float32_matmul_precision("high")
    with Tf32() as mode:
        yield mode
    torch.set_float32_matmul_precision("highest")


def test_convolutions_and_products_are_rounded_unless_they_are_switched_off(tf32: Tf32) -> None:
    torch.manual_seed(0)
    layer, image = nn.Conv2d(3, 4, 3), torch.rand(2, 3, 9, 9)
    whole = layer.double()(image.double())
    layer.float()
    error = (layer(image) - whole).abs().max()
    assert 1e-5 < error < 1e-2
    product = image[0, 0] @ image[0, 1]
    assert 1e-5 < (product - image[0, 0].double() @ image[0, 1].double()).abs().max() < 1e-2
    torch.backends.cudnn.allow_tf32 = False
    try:
        assert (layer(image) - whole).abs().max() < 1e-6
    finally:
        torch.backends.cudnn.allow_tf32 = True


def trainer(folder: Path, watching: pl.Callback, epochs: int) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watching],
    )


def watched(folder: Path, task: SaliencyTask, data: SaliencyDataModule) -> list[dict[str, object]]:
    """Look at a network at epoch 0, train it, look again, test it; return the test's rows."""
    pl.seed_everything(0, verbose=False)
    watching = WatchReceptiveFields(folder, units=4, patches=2, window=33, tuning=False)
    trainer(folder, watching, 1).fit(task, data)
    trainer(folder, watching, 1).test(task, data, verbose=False)
    return task.test_rows


def test_a_whole_run_ends_and_its_fields_and_scores_are_those_of_float32(
    tmp_path: Path, tf32: Tf32
) -> None:
    task, data = conftest.task(), conftest.datamodule()
    rows = watched(tmp_path / "tf32", task, data)
    assert tf32.rounded, "the training was rounded"
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        watched(tmp_path / "float32", whole := conftest.task(), data)
        trainer(tmp_path, pl.Callback(), 1).test(task, data, verbose=False)
    finally:
        torch.backends.cudnn.allow_tf32 = True
    assert task.test_rows == rows, "the same weights have the same scores"
    one, other = (tmp_path / name / "fields" / "epoch=000.npz" for name in ("tf32", "float32"))
    for entry in store.entry_names(one):
        first, second = store.load_fields(one, entry), store.load_fields(other, entry)
        assert np.array_equal(first.patches, second.patches), "the strongest ones too"
        assert np.abs(first.field - second.field).max() <= 1e-5 * np.abs(second.field).max()
    pairs = zip(task.parameters(), whole.parameters(), strict=True)
    assert not all(torch.equal(*pair) for pair in pairs), "the trainings themselves differ"


def test_the_verdict_is_that_of_float32(tmp_path: Path, tf32: Tf32) -> None:
    before, images = conftest.backbone().eval(), conftest.datamodule().images["val"]
    after = conftest.backbone().eval()
    with torch.no_grad():
        for parameter in after.parameters():
            parameter.mul_(1.1)
    judge = ClaimEvaluation(
        tmp_path,
        ["conv1", "conv4"],
        units=3,
        images=4,
        pairs=8,
        window=31,
        plantings=10,
        built_in=["bn_only"],
    )
    rounded = judge(before, after, images)
    torch.backends.cudnn.allow_tf32 = False
    try:
        whole = judge(before, after, images)
    finally:
        torch.backends.cudnn.allow_tf32 = True
    assert [(r.claim, r.stage, r.measure, r.outcome) for r in rounded] == [
        (r.claim, r.stage, r.measure, r.outcome) for r in whole
    ]
    one, other = ([row.effect.estimate for row in rows] for rows in (rounded, whole))
    assert np.allclose(one, other, rtol=1e-5, atol=1e-7, equal_nan=True)


@pytest.mark.data
def test_fields_of_a_pre_trained_network_on_osie_are_those_of_float32(
    data_dir: Path, tf32: Tf32
) -> None:
    network = build_backbone("tf_efficientnet_lite0", "efficientnet_lite0").eval()
    samples = SaliencyDataModule(osie(data_dir)).images["val"]
    images = torch.stack([samples[i].image for i in range(2)])
    calls = tf32.rounded
    for layer in ("conv3", "conv4"):
        known = measure_geometry(network, layer)
        patches = centred_patches(4, 2, known, (192, 256))
        rounded = map_receptive_fields(network, layer, images, patches, range(4), known).field
        torch.backends.cudnn.allow_tf32 = False
        try:
            whole = map_receptive_fields(network, layer, images, patches, range(4), known).field
        finally:
            torch.backends.cudnn.allow_tf32 = True
        assert np.abs(rounded - whole).max() <= 1e-5 * np.abs(whole).max()
    assert tf32.rounded == calls
