from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from deepsal.data import check_dataset
from deepsal.data.dataset import SaliencyDataset, Stimulus
from deepsal.data.image_files import read_image

SPLITS = {"train": [0, 1], "val": [2], "test": [3]}


def picture(seed: int) -> NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return small.repeat(4, axis=0).repeat(4, axis=1)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(picture(i)).save(path)
    return paths


def data(images: list[Path], size: tuple[int, int] = (80, 120)) -> SaliencyDataset:
    points, subjects = np.ones((2, 2)), np.array([0, 4])
    stimuli = [Stimulus(p.name, size, points, subjects, partial(read_image, p)) for p in images]
    return SaliencyDataset("toy", stimuli, SPLITS, 1.0, dropped={"off the image": 1200})


def test_a_sound_data_set_is_counted(images: list[Path]) -> None:
    report = check_dataset(data(images))
    assert not report.faults
    assert str(report).splitlines() == [
        "toy",
        "images      4 (2 train, 1 val, 1 test)",
        "sizes       1: 4 of 120x80",
        "fixations   8 (2 to 2 an image)",
        "left out    1,200 off the image",
        "people      2",
        "duplicates  0",
        "sound",
    ]


def test_an_unreadable_image_is_a_fault(images: list[Path]) -> None:
    images[1].write_bytes(images[1].read_bytes()[:300])
    report = check_dataset(data(images))
    assert len(report.faults) == 1
    assert "1.png is not a readable image" in report.faults[0]


def test_another_size_than_declared_is_a_fault(images: list[Path]) -> None:
    assert len(check_dataset(data(images, (80, 121))).faults) == 4


def test_one_picture_on_both_sides_of_a_split_is_a_fault(images: list[Path]) -> None:
    Image.fromarray(picture(0)).save(images[3].with_suffix(".jpg"), quality=98, subsampling=0)
    images[3].with_suffix(".jpg").rename(images[3])
    report = check_dataset(data(images))
    assert report.faults == ["0.png = 3.png is one picture in train and test"]
    assert "duplicates  1\n            0.png = 3.png" in str(report)


def test_one_picture_twice_on_one_side_is_only_told(images: list[Path]) -> None:
    Image.fromarray(picture(0)).save(images[1])
    report = check_dataset(data(images))
    assert not report.faults
    assert "0.png = 1.png" in str(report)


def test_a_long_fault_is_wrapped(images: list[Path]) -> None:
    Image.fromarray(picture(0)).save(images[3])
    lines = str(check_dataset(data(images))).splitlines()
    assert max(map(len, lines)) <= 80


def test_pictures_that_differ_are_told_apart_whatever_their_number() -> None:
    same = torch.zeros(3, 20, 30, dtype=torch.uint8)
    points, subjects = np.ones((1, 2)), np.zeros(1, dtype=np.int64)
    stimuli = [
        Stimulus(str(i), (20, 30), points, subjects, partial(same.__add__, i % 60 * 4))
        for i in range(120)
    ]
    report = check_dataset(SaliencyDataset("toy", stimuli, {"train": range(120)}, 1.0))
    assert "duplicates  60" in str(report)
