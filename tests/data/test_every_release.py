"""The promises that the loaders of all releases keep, each on a small copy of its release."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.data.conftest import Copied, Refetch, same, stays
from tests.data.fakes import FAKES, Fake

WITH_FIXATIONS = [fake for fake in FAKES.values() if fake.table]
LISTED = [fake for fake in FAKES.values() if fake.listed]
PARTIAL = [fake for fake in FAKES.values() if fake.partial]

every = pytest.mark.parametrize("fake", FAKES.values(), ids=FAKES)
with_fixations = pytest.mark.parametrize("fake", WITH_FIXATIONS, ids=lambda f: f.name)
listed = pytest.mark.parametrize("fake", LISTED, ids=lambda f: f.name)
partial = pytest.mark.parametrize("fake", PARTIAL, ids=lambda f: f.name)


def test_there_is_a_copy_of_every_release() -> None:
    from deepsal.data.index import PUBLISHED_DATASETS

    assert set(FAKES) == set(PUBLISHED_DATASETS)
    assert all(fake.load is PUBLISHED_DATASETS[name][1] for name, fake in FAKES.items())


@every
def test_fixations_lie_where_they_were_planted_and_know_who_made_them(
    fake: Fake, copied: Copied
) -> None:
    data = fake.load(copied(fake.name))
    assert len(data.stimuli) == fake.images
    assert data.dropped == fake.dropped
    for stimulus in data.stimuli:
        image = stimulus.read()[0]
        y, x = np.unravel_index(int(image.argmax()), image.shape)
        expected = np.reshape(fake.points(int(x), int(y), stimulus.size), (-1, 2))
        assert stimulus.size == image.shape
        assert stimulus.fixations.dtype == np.float64
        assert stimulus.fixations.shape == expected.shape
        assert (np.abs(stimulus.fixations - expected) <= fake.tolerance).all()
        assert stimulus.observers.tolist() == list(fake.observers)


@every
def test_the_splits_are_fixed_and_leave_no_image_out(fake: Fake, copied: Copied) -> None:
    folder = copied(fake.name)
    splits = fake.load(folder).splits
    assert tuple(len(splits[split]) for split in ("train", "val", "test")) == fake.splits
    assert sorted(i for split in splits.values() for i in split) == list(range(fake.images))
    again = fake.load(folder).splits
    assert all(list(again[split]) == list(splits[split]) for split in splits)


@with_fixations
def test_the_validation_images_are_test_images_on_demand(fake: Fake, copied: Copied) -> None:
    folder = copied(fake.name)
    own, splits = fake.load(folder).splits, fake.load(folder, split="val").splits
    assert list(splits["test"]) == list(own["val"])
    assert list(splits["train"]) == list(own["train"]), "of the centre prior"
    assert not splits["val"]


@with_fixations
def test_all_images_are_test_images_on_demand(fake: Fake, copied: Copied) -> None:
    folder = copied(fake.name)
    splits = fake.load(folder, split="all").splits
    assert splits == {"train": [], "val": [], "test": [*range(fake.images)]}
    with pytest.raises(
        ValueError, match=r"data\.dataset\.split=test: the choices are all, val and nu"
    ):
        fake.load(folder, split="test")


@every
def test_name_blur_and_degree_are_those_of_the_card(fake: Fake, copied: Copied) -> None:
    data, card = fake.load(copied(fake.name)), fake.module.DATASET_CARD
    assert data.name.removesuffix(" 2017") == card.title
    assert (data.sigma, data.pixels_per_degree) == (card.sigma, card.pixels_per_degree)
    assert data.fixations_hidden == (fake.table is None)


@every
def test_what_is_fetched_is_what_is_read(fake: Fake, copied: Copied, refetch: Refetch) -> None:
    folder = copied(fake.name)
    name = "salicon2017" if fake.name == "salicon" else fake.name
    fetched = refetch(name, folder / fake.name, fake.archives)
    assert same(fake.load(fetched), fake.load(folder))


@with_fixations
def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(
    fake: Fake, copied: Copied
) -> None:
    assert stays(fake.load(copied(fake.name))) > 1


@with_fixations
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404 Not Found</html>",
        b"version https://git-lfs.github.com/spec/v1\n" * 4,
        b"MATLAB 5.0 MAT-file".ljust(600),
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM",
    ],
    ids=["empty", "page", "pointer", "matlab-5", "matlab-7.3"],
)
def test_a_file_that_is_no_table_is_named(fake: Fake, content: bytes, copied: Copied) -> None:
    table = copied(fake.name) / fake.name / str(fake.table)
    table.write_bytes(content)
    refuses_the_table(fake, table)


@with_fixations
@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.999])
def test_a_truncated_table_is_named(fake: Fake, part: float, copied: Copied) -> None:
    table = copied(fake.name) / fake.name / str(fake.table)
    whole = table.read_bytes()
    table.write_bytes(whole[: int(part * len(whole))])
    refuses_the_table(fake, table)


@with_fixations
def test_a_table_of_something_else_is_named(fake: Fake, copied: Copied) -> None:
    table = copied(fake.name) / fake.name / str(fake.table)
    savemat(table, {"gaze": 1.0})
    refuses_the_table(fake, table)


def refuses_the_table(fake: Fake, table: Path) -> None:
    folder = table.parents[len(Path(str(fake.table)).parts)]
    message = (
        f"{re.escape(str(table))} is not a fixation file of {fake.module.DATASET_CARD.title}: "
    )
    with pytest.raises(ValueError, match=message):
        fake.load(folder)


@listed
def test_a_missing_image_is_named(fake: Fake, copied: Copied) -> None:
    folder = copied(fake.name)
    image = folder / fake.name / fake.image
    image.unlink()
    message = rf"{fake.module.DATASET_CARD.title} is incomplete: {re.escape(str(image))} is missing"
    with pytest.raises(FileNotFoundError, match=message):
        fake.load(folder)


@every
def test_an_unreadable_image_is_named(fake: Fake, copied: Copied) -> None:
    folder = copied(fake.name)
    image = folder / fake.name / fake.image
    image.write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=rf"{re.escape(str(image))} is not a readable image"):
        fake.load(folder)


@with_fixations
def test_other_counts_than_those_of_the_release_are_refused(
    fake: Fake, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(fake.name)
    fixations = len(fake.observers) * fake.images + fake.dropped.get("off the image", 0)
    fake.install(monkeypatch, images=fake.images + 1)
    message = rf"holds {fake.images} images and {fixations} fixations, the release has "
    with pytest.raises(ValueError, match=rf"{message}{fake.images + 1} and {fixations};"):
        fake.load(folder)


@partial
def test_a_part_of_a_release_is_read_where_it_is_wanted(
    fake: Fake, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(fake.name)
    fake.install(monkeypatch, images=fake.images + 1)
    assert len(fake.load(folder, check_counts=False).stimuli) == fake.images
