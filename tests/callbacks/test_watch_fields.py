from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from deepsal.callbacks import ShowPredictions, WatchReceptiveFields, field_snapshot
from deepsal.rf import map_receptive_fields, store
from deepsal.training.csv_log import csv_logger
from tests.conftest import datamodule, task
from tests.training.support import fit_with

STAGES = ["conv1", "conv3", "conv5"]


def watch(folder: Path) -> WatchReceptiveFields:
    return WatchReceptiveFields(
        folder, 2, stages=STAGES, units=4, patches=2, window=33, tuning=False
    )


def watch_with_noise(folder: Path) -> WatchReceptiveFields:
    options = {"stages": STAGES, "units": 4, "patches": 2, "window": 33, "pairs": 64}
    options["tuning"] = False
    return WatchReceptiveFields(folder, 2, method="reverse_correlation", **options)


@pytest.mark.parametrize("watch", [watch, watch_with_noise])
def test_looking_does_not_change_what_is_seen(
    watch: Callable[[Path], WatchReceptiveFields], tmp_path: Path
) -> None:
    alone = fit_with(tmp_path / "alone", [])
    draw_alone = torch.rand(1), np.random.rand()
    seen = fit_with(
        tmp_path / "seen", [watch(tmp_path / "seen"), ShowPredictions(tmp_path / "seen")]
    )
    draw_seen = torch.rand(1), np.random.rand()
    other = seen.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in alone.state_dict().items())
    assert draw_alone == draw_seen
    for first, second in zip(alone.modules(), seen.modules(), strict=True):
        assert first.training == second.training
        assert not second._forward_hooks
        assert not second._forward_pre_hooks
        assert not second._backward_hooks
    for before, after in zip(alone.parameters(), seen.parameters(), strict=True):
        assert before.requires_grad == after.requires_grad
        assert (before.grad is None) == (after.grad is None)
        if before.grad is not None and after.grad is not None:
            assert torch.equal(before.grad, after.grad)


def test_it_leaves_fields_pictures_and_numbers_for_every_watched_checkpoint(tmp_path: Path) -> None:
    module = fit_with(tmp_path, [watch(tmp_path)])
    files = sorted((tmp_path / "fields").glob("epoch=*"))
    others = {file.name for file in (tmp_path / "fields").iterdir()} - {file.name for file in files}
    assert others == {"activation.npz", "blocks.npz"}
    assert [file.name for file in files] == [f"epoch={e:03d}.npz" for e in (0, 2, 3)]
    assert store.entry_names(files[0]) == [
        f"{s}/{kind}" for s in STAGES for kind in ("centred", "strongest")
    ]
    for stage in STAGES:
        first, last = (
            store.load_fields(file, f"{stage}/centred") for file in (files[0], files[-1])
        )
        assert np.array_equal(first.patches, last.patches)
        frozen = stage == "conv1"
        assert np.array_equal(first.field, last.field) == frozen
        for kind in ("centred", "strongest"):
            folder = tmp_path / "figures" / "fields" / f"{stage}-{kind}"
            assert [f.name for f in sorted(folder.iterdir())] == [
                f"epoch={e:03d}.png" for e in (0, 2, 3)
            ]
            with Image.open(folder / "epoch=003.png") as picture:
                assert picture.size[0] > 200
        for kind in ("evolution", "profile", "patches"):
            with Image.open(tmp_path / "figures" / "fields" / f"{stage}-{kind}.png") as picture:
                assert picture.size[0] > 200
    table = pd.read_csv(tmp_path / "metrics.csv")
    moved = table["rf/conv5/correlation"].dropna().tolist()
    assert moved[0] == pytest.approx(1)
    assert len(moved) == 3
    assert moved[-1] < 1
    assert table["rf/conv1/correlation"].dropna().tolist() == pytest.approx([1] * 3)
    assert table["rf/conv1/cka_to_start"].dropna().tolist() == pytest.approx([1] * 3)
    assert table["rf/conv5/cka_to_start"].dropna().tolist()[-1] < 1
    assert table["rf/conv3/csi"].dropna().between(0, 1).sum() == 3
    for name in ("extent", "csi", "correlation"):
        assert table[f"rf/conv3/{name}_error"].dropna().tolist()[-1] > 0
    assert table["rf/conv3/correlation_error"].dropna().tolist()[0] == pytest.approx(0, abs=1e-6)
    assert module.network.training


def test_with_reverse_correlation_every_field_has_its_reliability(tmp_path: Path) -> None:
    fit_with(tmp_path, [watch_with_noise(tmp_path)])
    files = store.field_files(tmp_path / "fields")
    assert [file.name for file in files] == [f"epoch={e:03d}.npz" for e in (0, 2, 3)]
    assert sorted(store.entry_names(files[0])) == sorted(
        f"{s}/{kind}" for s in STAGES for kind in ("natural", "grey", "strongest")
    )
    table = pd.read_csv(tmp_path / "metrics.csv")
    for stage in STAGES:
        logged = table[f"rf/{stage}/reliability"].dropna().tolist()
        assert len(logged) == 3
        for source in ("natural", "grey"):
            all_files = [store.load_noise_fields(file, f"{stage}/{source}") for file in files]
            assert len({(f.cell, f.pairs, f.step, f.origin) for f in all_files}) == 1
            assert all_files[0].units.tolist() == list(range({"conv1": 4}.get(stage, 8)))
            first, last = all_files[0].field, all_files[-1].field
            frozen = np.allclose(first, last, atol=1e-3 * first.max())
            assert frozen == (stage == "conv1"), "the same noise at every checkpoint"
        final = store.load_noise_fields(files[-1], f"{stage}/natural")
        assert logged[-1] == pytest.approx(np.nanmedian(final.reliability))
        for kind in ("natural", "grey", "strongest"):
            folder = tmp_path / "figures" / "fields" / f"{stage}-{kind}"
            assert (folder / "epoch=003.png").is_file()
        for kind in ("evolution", "profile", "patches"):
            assert (tmp_path / "figures" / "fields" / f"{stage}-{kind}.png").is_file()
    assert table["rf/conv1/correlation"].dropna().tolist() == pytest.approx([1] * 3)
    moved = table["rf/conv3/correlation"].dropna().tolist()
    assert moved[0] == pytest.approx(1)
    assert moved[-1] < 1


def test_the_top_patches_are_those_of_the_trained_network(tmp_path: Path) -> None:
    module = fit_with(tmp_path, [watch(tmp_path)])
    fields = store.load_fields(tmp_path / "fields" / "epoch=003.npz", "conv3/strongest")
    images = torch.stack([sample.image for sample in datamodule().images["val"]])  # type: ignore[attr-defined]
    with torch.no_grad():
        response = module.network.backbone.eval()(images)["conv3"]
    for unit, patches in zip(fields.units, fields.patches, strict=True):
        best = response[:, unit].flatten(1).max(1).values.argsort(descending=True)[:2]
        assert patches[:, 0].tolist() == best.tolist()
    expected = map_receptive_fields(
        module.network, "backbone.conv3", images, fields.patches, range(4), window=33
    )
    assert np.allclose(fields.field, expected.field, atol=1e-6)


def test_a_test_without_a_training_before_it_is_watched_too(tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    module, watching = task("conv3"), watch(tmp_path)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=csv_logger(tmp_path),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watching],
    )
    trainer.test(module, datamodule(), verbose=False)
    file = tmp_path / "fields" / "test.npz"
    assert [f.name for f in file.parent.iterdir()] == ["test.npz"]
    fields = store.load_fields(file, "conv3/strongest")
    images = torch.stack([sample.image for sample in datamodule().images["val"]])  # type: ignore[attr-defined]
    expected = map_receptive_fields(
        module.network, "backbone.conv3", images, fields.patches, range(4), window=33
    )
    assert np.allclose(fields.field, expected.field, atol=1e-6)
    assert store.load_description(file)["weights"] == store.weights_fingerprint(module.network)
    assert "rf/conv3/extent" in pd.read_csv(tmp_path / "metrics.csv")


def test_a_test_without_validation_images_has_no_fields_and_says_how_to_have_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=[watch(tmp_path)], **options)
    trainer.test(task("conv3"), datamodule((0, 0, 3)), verbose=False)
    reason = "pop-out (seed 0) has no validation images"
    assert store.missing_checkpoints(tmp_path / "fields") == {"test": reason}
    assert f"no receptive fields: {reason}; set data@tested in place of data" in caplog.text


def test_after_a_training_the_test_is_not_watched_again(tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)

    def trainer() -> pl.Trainer:
        return pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=csv_logger(tmp_path),
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[watch(tmp_path)],
        )

    module, first = task("conv3"), trainer()
    first.fit(module, datamodule())
    first.test(module, datamodule(), verbose=False)
    assert not (tmp_path / "fields" / "test.npz").exists()
    trainer().test(module, datamodule(), verbose=False)  # continued in another process
    assert not (tmp_path / "fields" / "test.npz").exists()


@pytest.mark.slow
@pytest.mark.parametrize("images", [5, 1])
def test_two_processes_see_what_one_sees(images: int, tmp_path: Path) -> None:
    for name, devices in (("one", 1), ("two", 2)):
        pl.seed_everything(0, verbose=False)
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=devices,
            strategy="ddp_spawn" if devices > 1 else "auto",
            logger=csv_logger(tmp_path / name),
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[watch(tmp_path / name)],
        )
        trainer.fit(task("none"), datamodule((8, images, 3)))
    for checkpoint in ("epoch=000", "epoch=001"):
        one, two = (tmp_path / name / "fields" / f"{checkpoint}.npz" for name in ("one", "two"))
        for entry in store.entry_names(one):
            first, second = store.load_fields(one, entry), store.load_fields(two, entry)
            assert np.array_equal(first.patches, second.patches)
            assert np.allclose(first.field, second.field, rtol=1e-4, atol=1e-6, equal_nan=True)


def test_blank_and_noise_patches_are_no_images_of_the_data_set(tmp_path: Path) -> None:
    watching = WatchReceptiveFields(
        tmp_path, stages=["conv3"], units=4, patches=3, sources=["noise", "blank"]
    )
    fit_with(tmp_path, [watching], epochs=1)
    file = tmp_path / "fields" / "epoch=001.npz"
    assert store.entry_names(file) == ["conv3/noise", "conv3/blank"]
    noise, blank = (store.load_fields(file, f"conv3/{source}") for source in ("noise", "blank"))
    assert noise.count.tolist() == [3] * 4
    assert blank.count.tolist() == [1] * 4
    assert noise.field.shape == blank.field.shape == (4, 3, 15, 15)
    assert np.isfinite(noise.field).all()


def test_a_failing_training_leaves_no_hook(tmp_path: Path) -> None:
    class Failing(pl.Callback):
        def on_validation_batch_end(self, *_args: object) -> None:
            raise RuntimeError("on purpose")

    class Kept(pl.Callback):
        def on_exception(self, trainer: object, module: pl.LightningModule, *_: object) -> None:
            hooks.extend(h for m in module.modules() for h in m._forward_hooks.values())

    hooks: list[object] = []
    with pytest.raises(RuntimeError, match="on purpose"):
        fit_with(tmp_path, [Failing(), Kept(), watch(tmp_path)], epochs=2)
    assert not hooks


def test_a_sanity_check_before_the_training_is_not_watched(tmp_path: Path) -> None:
    watching = WatchReceptiveFields(
        tmp_path, stages=["conv1"], units=2, patches=1, window=9, tuning=False
    )
    pl.seed_everything(0, verbose=False)
    pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        num_sanity_val_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watching, ShowPredictions(tmp_path)],
    ).fit(task(), datamodule())
    files = sorted(file.name for file in tmp_path.glob("fields/epoch=*"))
    assert files == ["epoch=000.npz", "epoch=001.npz"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": [3, 99]}, r"conv1 has units 0 … 3"),
        ({"units": [-1]}, r"conv1 has units 0 … 3"),
        ({"units": 0}, r"rf.units=0"),
    ],
)
def test_units_that_a_stage_does_not_have_are_named(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_with(tmp_path, [WatchReceptiveFields(tmp_path, **options)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fails", "left"),
    [(range(99), []), (range(2, 3), ["epoch=000.npz", "epoch=002.npz"])],
    ids=["of the first snapshot", "of a later one"],
)
def test_without_memory_the_training_goes_on_and_says_what_is_missing(
    fails: range,
    left: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = iter(range(99))  # one per source, so two per snapshot

    def scarce(*args: Any, **options: Any) -> Any:
        if next(calls) in fails:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return map_receptive_fields(*args, **options)

    monkeypatch.setattr(field_snapshot, "map_receptive_fields", scarce)
    watching = WatchReceptiveFields(
        tmp_path, stages=["conv3"], units=4, patches=2, window=33, tuning=False
    )
    trained = fit_with(tmp_path, [watching], epochs=2)
    assert trained.trainer.global_step == 4
    assert sorted(f.name for f in tmp_path.glob("fields/epoch*.npz")) == left
    assert caplog.text.count("no receptive fields of") == 1, "one warning for one missing snapshot"
    assert ("nor of later ones" in caplog.text) == (not left)


@pytest.mark.parametrize("watch", [watch, watch_with_noise])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_network_that_diverges_ends_by_the_rule_of_the_training_and_not_of_the_fields(
    watch: Callable[[Path], WatchReceptiveFields],
    epochs: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Diverging(pl.Callback):
        def on_validation_end(self, trainer: object, pl_module: pl.LightningModule) -> None:
            pl_module.get_parameter("network.backbone.conv3.0.weight").data.fill_(torch.nan)

    watching = watch(tmp_path)
    watching.every_n_epochs = 1
    if epochs == 1:
        fit_with(tmp_path, [Diverging(), watching], epochs=1)
        assert (tmp_path / "figures" / "fields" / "conv3-evolution.png").is_file()
    else:
        with pytest.raises(FloatingPointError, match="loss term kl is nan at epoch 2"):
            fit_with(tmp_path, [Diverging(), watching], epochs=2)
    reason = "conv3 gives values that are not finite"
    assert caplog.text.count("no receptive fields of") == 1
    assert f"no receptive fields of epoch=001: {reason}" in caplog.text
    assert store.missing_checkpoints(tmp_path / "fields") == {"epoch=001": reason}


def test_another_error_of_a_snapshot_is_not_silenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(field_snapshot, "map_receptive_fields", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit_with(tmp_path, [watch(tmp_path)], epochs=1)
