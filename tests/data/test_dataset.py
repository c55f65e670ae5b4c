import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from deepsal.data.dataset import SaliencyDataset, Sample, Stimulus, collate, image_size, read_image


def stimulus(*points: tuple[float, float], name: str = "cat.png") -> Stimulus:
    fixations = np.array(points, dtype=np.float64).reshape(-1, 2)
    subjects = np.zeros(len(points), dtype=np.int64)
    return Stimulus(name, (6, 8), fixations, subjects, lambda: torch.zeros(3, 6, 8).byte())


def pixels(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("point", [(-0.6, 2), (7.5, 2), (1, -0.6), (1, 5.5), (6, 7)])
def test_a_fixation_off_the_image_names_data_set_image_and_point(
    point: tuple[float, float],
) -> None:
    named = re.escape(
        f"toy, image cat.png (8x6): 1 fixations lie off the image, first ({point[0]:g}, "
    )
    with pytest.raises(ValueError, match=named):
        SaliencyDataset("toy", [stimulus((1, 1), point)], {"train": [0]}, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_fixation_that_is_not_finite_names_its_image(value: float) -> None:
    with pytest.raises(ValueError, match=r"cat\.png .* non-finite"):
        SaliencyDataset("toy", [stimulus((1, 1), (value, 1))], {"train": [0]}, 1.0)


def test_an_image_without_fixation_is_named() -> None:
    with pytest.raises(ValueError, match=r"dog\.png .* no fixation"):
        SaliencyDataset("toy", [stimulus((1, 1)), stimulus(name="dog.png")], {"train": [0]}, 1.0)


@pytest.mark.parametrize("splits", [{"train": [0], "test": [0]}, {"train": [0, 1, 0]}])
def test_splits_must_not_overlap(splits: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="must not overlap"):
        SaliencyDataset("toy", [stimulus((1, 1)), stimulus((2, 2))], splits, 1.0)


def test_the_borders_of_the_image_belong_to_it() -> None:
    border = stimulus((-0.5, -0.5), (7.49, 5.49))
    dataset = SaliencyDataset("toy", [border], {"train": [0]}, 1.0)
    points = dataset.points("train")
    assert points.min() == 0
    assert points.max() < 1


def test_points_are_fractions_of_their_image_in_x_and_y() -> None:
    stimuli = [stimulus((3.5, 2.5)), stimulus((1.5, -0.5), (0, 0))]
    dataset = SaliencyDataset("toy", stimuli, {"train": [1], "val": [0]}, 1.0)
    assert dataset.points("val").tolist() == [[0.5, 0.5]]
    assert dataset.points("train").tolist() == [[0.25, 0], [0.0625, 0.5 / 6]]


def test_the_blur_is_the_images_own_or_that_of_the_data_set() -> None:
    stimuli = [stimulus((1, 1)), replace(stimulus((1, 1), name="dog.png"), sigma=4.0)]
    dataset = SaliencyDataset("toy", stimuli, {"train": [0, 1]}, 1.5)
    assert (dataset.sigma_of("cat.png"), dataset.sigma_of("dog.png")) == (1.5, 4.0)


def test_collate_stacks_maps_and_keeps_ragged_points_apart() -> None:
    image, counts = torch.rand(3, 4, 4), torch.ones(4, 4)
    points = torch.rand(5, 2), torch.rand(2, 2)
    batch = collate(
        [
            Sample(image, counts, counts / 16, p, n, (6, 8))
            for p, n in zip(points, "ab", strict=True)
        ]
    )
    assert batch.image.shape == (2, 3, 4, 4)
    assert batch.fixations.shape == batch.density.shape == (2, 4, 4)
    assert [len(p) for p in batch.points] == [5, 2]
    assert batch.name == ["a", "b"]
    assert batch.size == [(6, 8), (6, 8)]


@pytest.mark.parametrize(
    ("mode", "file"),
    [
        ("L", "a.png"),
        ("L", "a.jpg"),
        ("1", "a.png"),
        ("P", "a.png"),
        ("P", "a.gif"),
        ("LA", "a.png"),
        ("RGBA", "a.png"),
        ("CMYK", "a.jpg"),
        ("CMYK", "a.tif"),
        ("I;16", "a.png"),
        ("I;16", "a.tif"),
    ],
)
def test_every_kind_of_image_becomes_rgb_bytes(mode: str, file: str, tmp_path: Path) -> None:
    grey = Image.fromarray(pixels()).convert("L")
    stored = (
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(pixels()).convert(mode)
    )
    stored.save(tmp_path / file)
    image = read_image(tmp_path / file)
    assert image.dtype == torch.uint8
    assert image.shape == (3, *image_size(tmp_path / file)) == (3, 40, 50)
    assert image.unique().numel() > 1


def test_colours_arrive_as_stored(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), pixels())


def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png")[0].numpy(), ramp)


def test_a_palette_with_transparency_is_read(tmp_path: Path) -> None:
    palette = Image.fromarray(pixels()).convert("P")
    palette.save(tmp_path / "icon.png", transparency=bytes(range(256)))
    assert read_image(tmp_path / "icon.png").shape == (3, 40, 50)


@pytest.mark.parametrize("extension", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0, 10, 500, 0.5, 0.9])
def test_a_truncated_image_names_the_file(extension: str, kept: float, tmp_path: Path) -> None:
    file = tmp_path / f"cut.{extension}"
    Image.fromarray(pixels()).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: round(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=rf"cut\.{extension} is not a readable image"):
        read_image(file)


def test_a_text_file_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("see attachment")
    for read in (read_image, image_size):
        with pytest.raises(ValueError, match=r"note\.jpg is not a readable image"):
            read(tmp_path / "note.jpg")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_image, image_size):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
            read(tmp_path / "nowhere.jpg")


def test_fixations_of_other_images_are_rescaled_and_all_there() -> None:
    def stimulus(name: str, size: tuple[int, int], points: list[list[float]]) -> Stimulus:
        fixations = np.array(points, dtype=np.float64)
        subjects = np.zeros(len(points), dtype=np.int64)
        return Stimulus(name, size, fixations, subjects, lambda: torch.zeros(3, *size).byte())

    stimuli = [
        stimulus("a", (10, 10), [[0.0, 0.0]]),
        stimulus("b", (20, 20), [[19.0, 0.0], [19.4, 19.4]]),
        stimulus("c", (10, 40), [[-0.5, 5.0]]),
    ]
    dataset = SaliencyDataset("three", stimuli, {"test": [0, 1, 2]}, sigma=1.0)
    counts = dataset.others("test", "a", (10, 10))
    assert counts.nonzero().tolist() == [[0, 9], [5, 0], [9, 9]]
    assert counts.sum() == 3
    assert dataset.others("test", "b", (10, 10)).nonzero().tolist() == [[0, 0], [5, 0]]
    one = dataset.others("test", "a", (10, 10), images=1)
    assert one.sum() in (1, 2)
    assert torch.equal(one, dataset.others("test", "a", (10, 10), images=1))
    alone = SaliencyDataset("one", stimuli, {"test": [0]}, sigma=1.0)
    assert alone.others("test", "a", (4, 4)).sum() == 0


@pytest.mark.parametrize("read", [image_size, read_image])
def test_a_huge_image_is_named(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "poster.png"
    Image.new("L", (50, 40)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(ValueError, match=r"poster\.png is not a readable image: .*2000 pixels"):
        read(file)
