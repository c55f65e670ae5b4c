import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from deepsal.data import SaliencyDataModule, SaliencyDataset, popout_dataset
from deepsal.data import cache as module
from deepsal.data.batch import Sample
from deepsal.data.cache import DatasetCache, SharedRecords
from tests.data.support import jpeg_dataset

SIZE = (12, 16)


def samples(
    data: SaliencyDataset, cache: Path | None, gib: float = 1.0, crop: float = 1.0
) -> list[Sample]:
    torch.manual_seed(0)
    images = SaliencyDataModule(data, SIZE, cache_dir=cache, cache_gib=gib, crop=crop).images
    return [
        images[split][i] for _ in range(3) for split in images for i in range(len(images[split]))
    ]


def equal(first: list[Sample], second: list[Sample]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b) for one, other in zip(first, second, strict=True)
        for a, b in zip(one[:4], other[:4], strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("crop", [1.0, 0.7])
def test_samples_are_bit_equal_without_the_cache_while_it_fills_and_full(
    tmp_path: Path, crop: float
) -> None:
    data = jpeg_dataset(tmp_path / "data")
    runs = [samples(data, cache, crop=crop) for cache in (None, tmp_path / "c", tmp_path / "c")]
    assert equal(runs[0], runs[1])
    assert equal(runs[0], runs[2])
    assert len({tuple(s.image.flatten().tolist()) for s in runs[0]}) > 6


def test_a_second_run_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg_dataset(tmp_path / "data")
    before = samples(data, tmp_path / "cache")
    monkeypatch.setattr(module.SharedRecords, "put", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
    records = DatasetCache(tmp_path / "cache").images(data, SIZE)
    assert all(records.get(i) is not None for i in range(6))
    torch.manual_seed(0)
    images = SaliencyDataModule(data, SIZE, flip=0.0, cache_dir=tmp_path / "cache").images["val"]
    assert torch.equal(images[0].image, before[4].image)


def test_another_content_size_or_reading_is_another_file(tmp_path: Path) -> None:
    data = jpeg_dataset(tmp_path / "data")
    assert not list(tmp_path.glob("cache/*"))
    names = {DatasetCache(tmp_path).images(data, SIZE).file}
    names.add(DatasetCache(tmp_path).images(data, (16, 12)).file)
    Image.new("RGB", (44, 30)).save(tmp_path / "data" / "3.jpg")
    names.add(DatasetCache(tmp_path).images(data, SIZE).file)
    assert len(names) == 3
    assert samples(data, tmp_path / "cache")[3].image.max() == 0


def test_generated_images_and_an_option_of_none_write_no_file(tmp_path: Path) -> None:
    samples(popout_dataset((2, 1, 1), size=(30, 44)), tmp_path / "cache")
    samples(jpeg_dataset(tmp_path / "data"), None)
    assert not (tmp_path / "cache").exists()


def _write_for_ever(file: Path) -> None:
    records = SharedRecords(50, (3, 64, 64), torch.uint8, file)
    while True:
        for i in range(50):
            records.put(i, torch.full((3, 64, 64), i, dtype=torch.uint8))


def test_what_a_killed_writer_leaves_is_whole_or_made_again(tmp_path: Path) -> None:
    file = tmp_path / "killed.images"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_for_ever, args=(file,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    records = SharedRecords(50, (3, 64, 64), torch.uint8, file)
    while records.get(20) is None:
        pass
    for writer in writers:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    again = SharedRecords(50, (3, 64, 64), torch.uint8, file)
    stored = [again.get(i) for i in range(50)]
    assert any(record is not None for record in stored)
    assert all((record == i).all() for i, record in enumerate(stored) if record is not None)


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9])
def test_a_damaged_file_is_made_again(tmp_path: Path, cut: float) -> None:
    data = jpeg_dataset(tmp_path / "data")
    whole = samples(data, tmp_path / "cache")
    for file in (tmp_path / "cache").iterdir():
        content = bytearray(file.read_bytes())
        content[100:140] = bytes(40)
        file.write_bytes(content[: int(cut * len(content))] if cut else content)
    assert equal(samples(data, tmp_path / "cache"), whole)


def test_a_record_survives_pickling_to_a_spawned_worker(tmp_path: Path) -> None:
    records = SharedRecords(2, (3,), torch.float32, tmp_path / "a.images")
    records.put(1, torch.tensor([1.0, 2.0, 3.0]))
    copy = pickle.loads(pickle.dumps(records))
    assert copy.get(0) is None
    assert copy.get(1).tolist() == [1, 2, 3]


def test_a_full_disk_is_told_once_and_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg_dataset(tmp_path / "data")
    expected = samples(data, None)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.warns(UserWarning, match=r"No space left.*data\.cache_dir") as caught:
        stored = samples(data, tmp_path / "cache")
    assert equal(stored, expected)
    assert len(caught) == 2  # images, densities


def test_the_folder_stays_within_its_bound_and_the_oldest_go_first(tmp_path: Path) -> None:
    data, sizes, files_of = jpeg_dataset(tmp_path / "data"), [(64, 64), (64, 65), (64, 66)], []
    gib = 6 * 3 * 64 * 66 * 2.5 / 2**30
    for age, size in enumerate(sizes):
        records = DatasetCache(tmp_path, gib).images(data, size)
        for i in range(6):
            records.put(i, torch.zeros(3, *size, dtype=torch.uint8))
        assert records.file
        os.utime(records.file, (age, age))
        files_of.append(records.file)
    assert [file.exists() for file in files_of] == [False, True, True]


def test_a_set_larger_than_the_bound_is_kept_in_memory_and_said(tmp_path: Path) -> None:
    data = jpeg_dataset(tmp_path / "data")
    with pytest.warns(UserWarning, match=r"6 images need .* GiB, but data\.cache_gib=1e-06"):
        stored = samples(data, tmp_path / "cache", gib=1e-6)
    assert equal(stored, samples(data, None))


def test_a_user_without_a_home_gets_a_warning_with_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.warns(UserWarning, match=r"no folder here .*set data\.cache_dir=FOLDER"):
        assert DatasetCache("~/.cache/deepsal").folder is None
