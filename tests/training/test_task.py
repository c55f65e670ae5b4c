from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from deepsal.data import SaliencyDataModule, popout_dataset
from deepsal.data.batch import GroundTruth
from deepsal.data.dataset import rasterise_fixations
from deepsal.metrics import functional
from deepsal.metrics.scoring import ImageScorer
from deepsal.metrics.visual_search import score_target
from deepsal.models import Centre, HumanCeiling, StoredMaps
from deepsal.runs.export import PredictionExport
from deepsal.training.task import SaliencyTask
from deepsal.vocabulary import DEPTHS, TARGET_SCORES
from tests.conftest import datamodule, task
from tests.training.support import fit


def state(module: SaliencyTask) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.network.state_dict().items()}


@pytest.mark.parametrize("depth", DEPTHS)
def test_only_the_chosen_depth_moves_buffers_included(depth: str, tmp_path: Path) -> None:
    module = task(depth)
    before = state(module)
    fit(module, tmp_path)
    frozen = module.network.backbone.frozen_stages
    assert len(frozen) == DEPTHS[::-1].index(depth)
    for key, value in state(module).items():
        stage = key.split(".")[1] if key.startswith("backbone.conv") else None
        if stage in frozen:
            assert torch.equal(value, before[key]), f"{key} moved"
        elif stage:
            assert not torch.equal(value, before[key]), f"{key} did not move"


def test_equal_seeds_give_equal_runs(tmp_path: Path) -> None:
    first, second = task(), task()
    fit(first, tmp_path / "a")
    fit(second, tmp_path / "b")
    other = state(second)
    assert all(torch.equal(value, other[key]) for key, value in state(first).items())


def test_training_lowers_the_loss_and_validation_is_the_mean_over_images(tmp_path: Path) -> None:
    module = task()
    data = datamodule()
    seen = data.images["train"].__getitems__(range(8)).to_device(torch.device("cpu"))
    with torch.no_grad():
        before, _ = module.loss(module.network.eval()(seen.image), seen.density, seen.fixations)
    trainer = fit(module, tmp_path, epochs=6)
    values = []
    with torch.no_grad():
        module.network.eval()
        for batch in data.val_dataloader():
            log_density = module.network(batch.image)
            values.append(functional.nss(log_density, batch.fixations))
        after, _ = module.loss(module.network(seen.image), seen.density, seen.fixations)
    assert after < before
    validated = trainer.callback_metrics["val/nss"].item()
    assert validated == pytest.approx(torch.cat(values).mean().item(), abs=1e-5)


def test_test_images_are_scored_at_their_own_size_beside_centre_and_chance(tmp_path: Path) -> None:
    module = task()
    trainer = fit(module, tmp_path, epochs=1)
    data = datamodule()
    trainer.test(module, data, verbose=False)
    assert [row["name"] for row in module.test_rows] == [
        s.name for s in data.images["test"].stimuli
    ]
    for row, batch in zip(module.test_rows, data.test_dataloader(), strict=True):
        assert batch.density.shape[1:] == batch.size[0]
        with torch.no_grad():
            log_density = module.network.eval()(batch.image, batch.size[0])
        expected = ImageScorer()(log_density, GroundTruth(batch.density, batch.fixations))
        assert row["nss"] == pytest.approx(expected["nss"].item(), abs=1e-5)
        assert row["chance_auc"] == 0.5
        assert row["centre_kl"] != row["chance_kl"]


def test_images_with_a_search_target_have_its_scores_and_others_have_none(tmp_path: Path) -> None:
    module = task()
    trainer = fit(module, tmp_path, epochs=1)
    data = datamodule()
    trainer.test(module, data, verbose=False)
    arrays = data.images["test"].stimuli
    for row, batch, array in zip(module.test_rows, data.test_dataloader(), arrays, strict=True):
        assert array.target_masks is not None
        with torch.no_grad():
            saliency = module.network.eval()(batch.image, batch.size[0])[0].exp()
        expected = [min(value, 100) for value in score_target(saliency, *array.target_masks())]
        assert [row[key] for key in TARGET_SCORES] == pytest.approx(expected, rel=1e-4)
        assert row["chance_gsi"] == 0
        assert row["chance_msrtarget"] == row["chance_msrbackground"] == 1
        assert 1 <= row["search"] <= 100
    dataset = data.dataset
    plain = [replace(stimulus, target_masks=None) for stimulus in dataset.stimuli]
    data = SaliencyDataModule(replace(dataset, stimuli=plain), (64, 96), 4)
    trainer.test(module, data, verbose=False)
    assert not any(set(TARGET_SCORES) & set(row) for row in module.test_rows)


@pytest.mark.parametrize("network", ["trained", "human", "centre"])
def test_the_training_precision_never_enters_a_test_score(network: str) -> None:
    torch.manual_seed(0)
    arrays = popout_dataset((8, 6, 3), size=(64, 96))
    people = [replace(s, observers=np.arange(len(s.fixations)) % 3) for s in arrays.stimuli]
    module, data = task(), SaliencyDataModule(replace(arrays, stimuli=people), (64, 96), 4)
    if network != "trained":
        module.network = HumanCeiling() if network == "human" else Centre()
    rows = []
    for precision in ("32-true", "bf16-mixed"):
        trainer = pl.Trainer(
            accelerator="cpu",
            precision=precision,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.test(module, data, verbose=False)
        rows.append(module.test_rows)
    assert rows[0] == rows[1]
    assert all(row["nss"] == row["nss"] for row in rows[0])


def test_the_test_scores_the_very_map_that_is_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, data = task(), datamodule()
    trainer = pl.Trainer(
        accelerator="cpu",
        precision="bf16-mixed",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.test(module, data, verbose=False)
    predict = module.predictor(data.dataset)
    written = PredictionExport(tmp_path / "maps.hdf5")(predict, data.images["test"])
    maps = StoredMaps(written)
    for row, batch in zip(module.test_rows, data.test_dataloader(), strict=True):
        log_density = maps(batch.image, batch.size[0], batch.name)
        nss = functional.nss(log_density, batch.fixations).item()
        assert row["nss"] == pytest.approx(nss, abs=1e-5)


def test_a_checkpoint_holds_plain_values_and_restores_the_weights(tmp_path: Path) -> None:
    module = task()
    fit(module, tmp_path)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    fresh = task("conv4")
    fresh.load_state_dict(checkpoint["state_dict"])
    restored = state(fresh)
    assert all(torch.equal(value, restored[key]) for key, value in state(module).items())


def test_test_images_have_shuffled_auc_and_information_gain_over_the_centre(tmp_path: Path) -> None:
    module = task()
    trainer = fit(module, tmp_path, epochs=1)
    data = datamodule()
    trainer.test(module, data, verbose=False)
    for row, batch in zip(module.test_rows, data.test_dataloader(), strict=True):
        others = sum(
            (
                rasterise_fixations(b.points[0], b.size[0], batch.size[0])
                for b in data.test_dataloader()
                if b.name != batch.name
            ),
            torch.zeros(batch.size[0]),
        )
        with torch.no_grad():
            log_density = module.network.eval()(batch.image, batch.size[0])
            centre = module.baselines["centre"](batch.image, batch.size[0])
        sauc = functional.sauc(log_density, batch.fixations, others[None])
        assert row["sauc"] == pytest.approx(sauc.item(), abs=1e-5)
        gain = functional.information_gain(log_density, batch.fixations, centre)
        assert row["ig"] == pytest.approx(gain.item(), abs=1e-5)
        assert (row["centre_ig"], row["chance_sauc"]) == (0, 0.5)


def test_optimal_maps_are_made_for_each_images_own_blur(tmp_path: Path) -> None:
    module = task()
    module.score = ImageScorer(maps="optimal", names=["cc"])
    trainer = fit(module, tmp_path, epochs=1)
    data = popout_dataset((8, 6, 3), size=(64, 96))
    own = [replace(stimulus, sigma=data.sigma) for stimulus in data.stimuli]
    rows = []
    for of in (data, replace(data, stimuli=own, sigma=40.0)):
        trainer.test(module, SaliencyDataModule(of, (64, 96), 4), verbose=False)
        rows.append(module.test_rows)
    assert rows[0] == rows[1]


def test_the_test_takes_another_protocol_and_optimal_maps(tmp_path: Path) -> None:
    module = task()
    trainer = fit(module, tmp_path, epochs=1)
    trainer.test(module, datamodule(), verbose=False)
    plain = module.test_rows
    module.score = ImageScorer(protocol="mit", maps="optimal")
    trainer.test(module, datamodule(), verbose=False)
    for one, other in zip(plain, module.test_rows, strict=True):
        assert {*other} == {*one, "borji", "centre_borji", "chance_borji"}
        assert other["cc"] != one["cc"]
        assert other["ig"] == one["ig"]
