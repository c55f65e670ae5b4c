from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepsal.data import SaliencyDataModule, popout_dataset
from deepsal.data.batch import SeededIndex
from deepsal.data.frame import region_mask
from deepsal.data.saliency_images import SaliencyImages
from tests.data.support import (
    FRAME,
    SHAPES,
    all_equal_batches,
    equal_batches,
    jpeg_dataset,
    shapes_datamodule,
    shapes_dataset,
)


def images(**options: float) -> SaliencyDataModule:
    return SaliencyDataModule(popout_dataset((4, 2, 1), size=(48, 64)), (48, 64), 2, **options)  # type: ignore[arg-type]


def test_images_travel_as_bytes_and_are_divided_where_they_are_used() -> None:
    split = images().images["val"]
    batch = split.__getitems__([0, 1])
    assert batch.image.dtype == torch.uint8
    expected = torch.stack([split[i].image for i in (0, 1)])
    assert torch.equal(batch.to_device(torch.device("cpu")).image, expected)
    assert torch.equal(batch.image / 255, expected)


def test_the_seed_of_a_draw_decides_its_augmentation_and_leaves_torch_as_it_is() -> None:
    split = images(crop=0.6, colour=0.4).images["train"]
    before = torch.get_rng_state()
    batches = [split.__getitems__([SeededIndex(0, seed)]).image for seed in (1, 1, 2)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plain_index_is_augmented_by_torchs_own_generator() -> None:
    split = images(crop=0.6).images["train"]
    torch.manual_seed(0)
    first, second = split[0].image, split[0].image
    torch.manual_seed(0)
    assert torch.equal(split[0].image, first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("crop", [1.0, 0.7])
@pytest.mark.parametrize("fit", ["pad", "crop_long"])
def test_an_image_of_the_frames_own_shape_is_the_squeezed_one_bit_for_bit(
    fit: str, crop: float
) -> None:
    for split in ("train", "val", "test"):
        fitted, squeezed = (
            shapes_datamodule(name, crop=crop).images[split].__getitems__([SeededIndex(3, 1)])
            for name in (fit, "squeeze")
        )
        if fit == "pad" or split != "train" or crop == 1:
            assert fitted.regions is None
            draw = fit == "crop_long" and split == "train"  # the window is a draw before the flip
            assert draw or equal_batches(fitted, squeezed)


@pytest.mark.parametrize("crop", [1.0, 0.7])
@pytest.mark.parametrize("split", ["train", "val"])
def test_truth_and_pixels_of_a_padded_image_lie_in_its_region(split: str, crop: float) -> None:
    data = shapes_datamodule("pad", crop=crop, colour=0.3)
    batch = data.images[split].__getitems__([SeededIndex(i, i) for i in range(4)])
    assert batch.regions is not None
    mask = region_mask(batch.regions, FRAME, torch.device("cpu"))
    for maps in (batch.image.amax(1), batch.fixations, batch.density):
        assert not maps[~mask].any()
    assert batch.image.amax(1)[mask].min() > 0
    torch.testing.assert_close(batch.density.sum((1, 2)), torch.ones(4))
    assert batch.fixations.sum((1, 2)).tolist() == [len(points) for points in batch.points]
    for region, (name, (height, width)) in zip(batch.regions, SHAPES.items(), strict=True):
        assert region.width / region.height == pytest.approx(width / height, rel=0.06), name


@pytest.mark.parametrize("fit", ["squeeze", "pad", "crop_long"])
@pytest.mark.parametrize("crop", [1.0, 0.7])
def test_the_brightest_pixel_is_where_the_density_is_whatever_the_fit(
    fit: str, crop: float
) -> None:
    data = shapes_datamodule(fit, crop=crop, keep=1.0)
    for split, seed in (("train", 0), ("train", 1), ("val", 0)):
        for i in range(4):
            batch = data.images[split].__getitems__([SeededIndex(i, seed)])
            image, density = batch.image[0, 0].float(), batch.density[0]
            brightest, densest = (
                torch.tensor(divmod(int(m.argmax()), FRAME[1])) for m in (image, density)
            )
            assert (brightest - densest).abs().max() <= 5


def test_the_truth_of_a_test_is_at_the_stored_size_without_padding() -> None:
    padded, squeezed = (shapes_datamodule(fit).images["test"] for fit in ("crop_long", "squeeze"))
    for i, shape in enumerate(SHAPES.values()):
        one, other = padded[i], squeezed[i]
        assert one.density.shape == shape
        assert torch.equal(one.density, other.density)
        assert torch.equal(one.fixations, other.fixations)


def test_images_for_fields_have_no_padding_and_are_those_of_the_split_if_it_has_none() -> None:
    data = shapes_datamodule("squeeze")
    assert data.field_images("val") is data.images["val"]
    padded = shapes_datamodule("pad")
    batches = list(padded.field_dataloader())
    assert [batch.regions for batch in batches] == [None]
    assert batches[0].image.min() > 0.2
    assert torch.equal(batches[0].image[1], padded.field_images("val")[1].image)
    cropped = shapes_datamodule("crop_long")
    assert cropped.field_images("train") is cropped.images["train"]


def test_densities_and_images_in_files_are_those_in_memory(tmp_path: Path) -> None:
    files = jpeg_dataset(tmp_path / "images")
    for fit in ("squeeze", "pad", "crop_long"):
        modules = [
            SaliencyDataModule(files, (40, 32), 4, fit=fit, cache_dir=folder)
            for folder in (None, tmp_path / "cache", tmp_path / "cache")
        ]
        first, second, third = (
            [m.images[s].__getitems__([SeededIndex(0, 0)]) for s in ("train", "val", "test")]
            for m in modules
        )
        assert all_equal_batches(first, second)
        assert all_equal_batches(second, third)


def test_the_scale_of_a_padded_image_is_that_of_its_part() -> None:
    data = replace(shapes_dataset(), pixels_per_degree=10.0)
    portrait = [1]
    scales = {
        fit: SaliencyImages(data, portrait, FRAME, fit=fit).pixels_per_degree
        for fit in ("squeeze", "pad", "cover")
    }
    assert scales == {"squeeze": 12.0, "pad": 4.5, "cover": 12.0}
