import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from deepsal.data import SaliencyDataModule, popout_dataset
from deepsal.data.device_cache import DeviceImages, choose_device_cache, free_memory
from deepsal.training.checkpoints import AtomicCheckpointIO, LastCheckpoint, newest_checkpoint
from deepsal.training.preemption import PreemptionCallback, RunPreempted
from tests.conftest import task
from tests.data.support import (
    all_equal_batches,
    epoch_batches,
    equal_batches,
    jpeg_dataset,
    planted_dataset,
    shapes_datamodule,
)
from tests.training.support import PreemptAt

CPU = torch.device("cpu")
SIZE = (13, 17)  # mirrored cells have other borders


def data(
    device_cache: bool | None, flip: float = 0.5, workers: int = 0, crop: float = 1.0
) -> SaliencyDataModule:
    torch.manual_seed(0)
    arrays = popout_dataset((16, 6, 3), size=(48, 64))
    return SaliencyDataModule(arrays, SIZE, 4, flip, workers, crop=crop, device_cache=device_cache)


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_bit_for_bit_those_of_the_loader(flip: float, workers: int) -> None:
    cached, plain = data(True, flip, workers), data(False, flip)
    assert all_equal_batches(epoch_batches(cached), epoch_batches(plain))
    assert all_equal_batches(list(cached.val_dataloader()), list(plain.val_dataloader()))
    assert isinstance(cached.train_dataloader().dataset, DeviceImages)


@pytest.mark.parametrize("frame", [(32, 48), (33, 47)])
def test_padded_batches_are_bit_for_bit_those_of_the_loader(frame: tuple[int, int]) -> None:
    cached, plain = (
        shapes_datamodule("pad", frame, device_cache=option) for option in (True, False)
    )
    torch.manual_seed(0)
    first = epoch_batches(cached, 4)
    torch.manual_seed(0)
    assert all_equal_batches(first, epoch_batches(plain, 4))
    assert first[0].regions


def test_windows_that_differ_for_every_view_are_not_stored() -> None:
    with pytest.raises(ValueError, match=r"the window differs for every view; set data\.fit=pad"):
        shapes_datamodule("crop_long", device_cache=True).train_dataloader()
    assert not shapes_datamodule("crop_long").uses_device_cache


def test_it_holds_no_file_open_for_each_image() -> None:
    cached = data(True, workers=1)
    before = len(os.listdir("/proc/self/fd"))
    cached.train_dataloader()
    assert len(os.listdir("/proc/self/fd")) < before + 16, "16 images in two views"


def test_a_fixation_on_the_border_of_two_cells_is_mirrored_as_by_the_loader() -> None:
    on_border = planted_dataset([(0, 0)])
    on_border.stimuli[0].fixations[0, 0] = 1.5  # between the first two cells of 22
    (cached,), (plain,) = (
        SaliencyDataModule(on_border, (15, 22), 1, 1.0, device_cache=option).train_dataloader()
        for option in (True, False)
    )
    assert equal_batches(cached, plain)
    (stored,) = SaliencyDataModule(on_border, (15, 22), 1, 0.0).train_dataloader()
    assert not torch.equal(cached.fixations, stored.fixations.flip(-1)), "so both are kept"


def test_each_image_is_decoded_once_by_way_of_the_file_cache(tmp_path: Path) -> None:
    stored = jpeg_dataset(tmp_path / "data")
    options = {"flip": 0.5, "cache_dir": tmp_path / "cache", "device_cache": True}
    first = SaliencyDataModule(stored, SIZE, 2, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    batches = epoch_batches(first)
    for file in (tmp_path / "data").iterdir():
        file.write_bytes(b"gone" + bytes(file.stat().st_size - 4))
    torch.manual_seed(0)
    assert all_equal_batches(epoch_batches(first), batches)


def test_only_what_is_fitted_is_kept_and_given_back_at_the_end() -> None:
    module = data(True)
    loaders = module.train_dataloader(), module.val_dataloader()
    assert not isinstance(module.test_dataloader().dataset, DeviceImages)
    module.teardown("fit")
    for loader in loaders:
        assert isinstance(loader.dataset, DeviceImages)
        assert loader.dataset.image.numel() == 0
    assert not module.device_images


def fit(folder: Path, device_cache: bool, *callbacks: pl.Callback) -> dict[str, torch.Tensor]:
    pl.seed_everything(0, verbose=False)
    module = task()
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[LastCheckpoint(folder), PreemptionCallback(), *callbacks],
        logger=False,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    arrays = popout_dataset((16, 6, 3), size=(64, 96))
    images = SaliencyDataModule(arrays, (64, 96), 4, device_cache=device_cache)
    trainer.fit(module, images, ckpt_path=newest_checkpoint(folder)[0], weights_only=True)
    return dict(module.state_dict())


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_a_fit_also_a_resumed_one_ends_in_the_weights_of_the_loader(tmp_path: Path) -> None:
    expected = fit(tmp_path / "plain", False)
    cached = fit(tmp_path / "cached", True)
    with pytest.raises(RunPreempted, match=r"at step 6$"):
        fit(tmp_path / "cut", True, PreemptAt(5))
    resumed = fit(tmp_path / "cut", True)
    for key, value in expected.items():
        assert torch.equal(cached[key], value), key
        assert torch.equal(resumed[key], value), key


def test_by_itself_it_is_used_where_half_of_the_free_memory_is_enough() -> None:
    splits = {split: data(None).images[split] for split in ("train", "val")}
    needed = 13 * 17 * (16 * 19 + 6 * 11)
    assert free_memory(CPU) is None
    choices = {
        free: choose_device_cache(None, splits, CPU, free)
        for free in (None, 2 * needed - 1, 2 * needed)
    }
    assert choices == {None: False, 2 * needed - 1: False, 2 * needed: True}
    assert not choose_device_cache(False, splits, CPU, 2 * needed)
    assert choose_device_cache(True, splits, CPU, needed)
    with pytest.raises(ValueError, match=r"need .* GiB and cpu has .* or data\.device_cache=false"):
        choose_device_cache(True, splits, CPU, needed - 1)


def test_crops_cannot_be_kept() -> None:
    assert not isinstance(data(None, crop=0.8).train_dataloader().dataset, DeviceImages)
    with pytest.raises(ValueError, match=r"data\.crop=1 data\.colour=0, or data\.device_cache=f"):
        data(True, crop=0.8).train_dataloader()
