import re
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepsal.data import SaliencyDataModule, SaliencyDataset, Stimulus, popout_dataset
from deepsal.data.datamodule import check_options, explain_missing_images
from deepsal.data.saliency_images import SaliencyImages
from tests.data.support import SIZE, equal_batches, planted_dataset, planted_image


def arrays(size: tuple[int, int] = SIZE, flip: float = 0.5, workers: int = 0) -> SaliencyDataModule:
    data = popout_dataset((6, 5, 2), size=(48, 64))
    return SaliencyDataModule(data, size=size, batch_size=2, flip=flip, num_workers=workers)


def place(maps: Tensor) -> list[int]:
    return [int(i) for i in np.unravel_index(int(maps.argmax()), maps.shape)]


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("size", [(30, 44), (15, 22), (13, 17), (60, 88), (41, 30)])
@pytest.mark.parametrize("point", [(0, 0), (43, 29), (5, 21), (30, 8), (22, 15)])
def test_a_planted_pixel_stays_under_its_fixation_through_flip_and_resize(
    point: tuple[int, int], size: tuple[int, int], flip: float
) -> None:
    module = SaliencyDataModule(planted_dataset([point]), size=size, batch_size=1, flip=flip)
    batch = next(iter(module.train_dataloader()))
    x, y = (SIZE[1] - 1 - point[0] if flip else point[0]), point[1]
    assert batch.points[0].tolist() == [[x, y]]
    expected = np.array([(y + 0.5) * size[0] / SIZE[0], (x + 0.5) * size[1] / SIZE[1]]) - 0.5
    brightest, fixated = place(batch.image[0, 0]), place(batch.fixations[0])
    assert np.abs(brightest - expected).max() <= 0.5 + 1e-9
    assert np.abs(fixated - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_the_density_peaks_where_the_fixation_is(flip: float) -> None:
    module = SaliencyDataModule(planted_dataset([(11, 8)]), size=(60, 88), batch_size=1, flip=flip)
    batch = next(iter(module.train_dataloader()))
    assert place(batch.density[0]) == place(batch.fixations[0])
    assert batch.density.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("x", [-0.5, -0.4, 43.4])
def test_a_fixation_at_the_border_survives_the_flip(x: float) -> None:
    data = planted_dataset([(0, 0)])
    data.stimuli[0].fixations[0, 0] = x
    batch = next(iter(SaliencyDataModule(data, SIZE, 1, flip=1.0).train_dataloader()))
    assert place(batch.fixations[0]) == [0, 43 if x < 0 else 0]


def test_the_blur_is_that_of_the_stored_image_scaled_with_it() -> None:
    batch = next(
        iter(SaliencyDataModule(planted_dataset([(22, 15)]), (30, 88), 1).val_dataloader())
    )
    at = torch.arange(88) - 44.5
    spread = (batch.density[0].sum(0) * at.square()).sum().sqrt()
    assert spread.item() == pytest.approx(4, rel=0.01)


def test_only_training_images_are_flipped() -> None:
    module = SaliencyDataModule(planted_dataset([(3, 4)]), size=SIZE, batch_size=1, flip=1.0)
    for batch in (next(iter(module.val_dataloader())), next(iter(module.test_dataloader()))):
        assert place(batch.image[0, 0]) == place(batch.fixations[0]) == [4, 3]


def test_the_truth_of_a_test_image_is_at_its_own_size() -> None:
    module = SaliencyDataModule(planted_dataset([(3, 4), (40, 20)]), size=(16, 16), batch_size=2)
    for batch, (x, y) in zip(module.test_dataloader(), [(3, 4), (40, 20)], strict=True):
        assert batch.image.shape == (1, 3, 16, 16)
        assert batch.density.shape == batch.fixations.shape == (1, *SIZE)
        assert place(batch.fixations[0]) == [y, x]


def test_the_shapes_of_a_batch() -> None:
    batch = next(iter(arrays(size=(24, 32)).train_dataloader()))
    assert batch.image.shape == (2, 3, 24, 32)
    assert batch.image.dtype == torch.float32
    assert 0 <= batch.image.min() < batch.image.max() <= 1
    assert batch.fixations.shape == batch.density.shape == (2, 24, 32)
    assert batch.fixations.sum((1, 2)).tolist() == [len(points) for points in batch.points]
    assert batch.size == [(48, 64), (48, 64)]


def test_training_drops_the_last_smaller_batch_unless_it_is_the_only_one() -> None:
    data = popout_dataset((5, 3, 1), size=(48, 64))
    lengths = {
        size: [len(b.image) for b in SaliencyDataModule(data, SIZE, size).train_dataloader()]
        for size in (2, 5, 8)
    }
    assert lengths == {2: [2, 2], 5: [5], 8: [5]}
    assert [
        len(b.image) for b in SaliencyDataModule(data, SIZE, 2, val_batch_size=2).val_dataloader()
    ] == [2, 1]


def test_equal_seeds_give_equal_batches_and_other_seeds_others() -> None:
    runs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        runs.append(list(arrays().train_dataloader()))
    assert all(map(equal_batches, runs[0], runs[1]))
    assert not all(map(equal_batches, runs[0], runs[2]))


@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader", "test_dataloader"])
def test_a_worker_gives_the_batches_of_the_main_process(loader: str) -> None:
    runs = []
    for workers in (0, 1):
        torch.manual_seed(0)
        runs.append(list(getattr(arrays(flip=1.0, workers=workers), loader)()))
    assert len(runs[0]) == len(runs[1]) > 1
    assert all(map(equal_batches, *runs))


def test_an_image_is_decoded_once() -> None:
    data = popout_dataset((3, 2, 1), size=(48, 64))
    reads: Counter[str] = Counter()

    def counted(stimulus: Stimulus) -> Tensor:
        reads[stimulus.name] += 1
        return stimulus.read()

    stimuli = [
        Stimulus(s.name, s.size, s.fixations, s.observers, partial(counted, s))
        for s in data.stimuli
    ]
    images = SaliencyImages(SaliencyDataset("counted", stimuli, data.splits, 2.0), [0, 2], SIZE)
    first, second = ([images[i].image for i in (0, 1)] for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert reads == {stimuli[0].name: 1, stimuli[2].name: 1}


def test_a_stimulus_of_another_size_than_declared_is_named() -> None:
    points, subjects = np.ones((1, 2)), np.zeros(1, dtype=np.int64)
    wrong = Stimulus("wrong.png", (20, 20), points, subjects, partial(planted_image, 1, 1))
    images = SaliencyImages(SaliencyDataset("toy", [wrong], {"train": [0]}, 1.0), [0], (10, 10))
    with pytest.raises(ValueError, match=r"wrong\.png has .*\(30, 44\).* says \(20, 20\)"):
        images[0]


def test_images_whose_fixations_are_kept_elsewhere_have_no_truth_and_no_training() -> None:
    nobody = np.empty(0, dtype=np.int64)
    secret = Stimulus("a.png", SIZE, np.empty((0, 2)), nobody, partial(planted_image, 1, 1))
    splits: dict[str, list[int]] = {"train": [], "val": [], "test": [0]}
    module = SaliencyDataModule(
        SaliencyDataset("secret", [secret], splits, 2.0, fixations_hidden=True), SIZE
    )
    (batch,) = module.test_dataloader()
    assert batch.image.shape == (1, 3, *SIZE)
    assert batch.density.shape == (1, *SIZE)
    assert batch.density.sum() == 0
    message = r"secret has no training images, which do=\[fit\] needs; set .*data@tested=NAME"
    with pytest.raises(ValueError, match=message):
        module.train_dataloader()


@pytest.mark.parametrize(("option", "missing"), [("all", "train"), ("all", "val"), ("val", "val")])
def test_images_that_an_option_made_test_images_are_missed_by_its_name(
    option: str, missing: str
) -> None:
    dataset = popout_dataset((2, 1, 1), size=SIZE, split=option)
    assert not dataset.splits[missing]
    message = explain_missing_images(dataset, missing, "fit")
    assert re.search(r"has no \w+ images, which do=\[fit\] needs; .*split=all or val", message)
    assert "set data.dataset.split=null or another data set" in message


def test_a_training_without_training_images_is_an_error() -> None:
    dataset = popout_dataset((2, 1, 1), size=SIZE, split="all")
    with pytest.raises(ValueError, match="has no training images"):
        SaliencyDataModule(dataset, SIZE).train_dataloader()


@pytest.mark.parametrize("size", [64, [64], [64, 0], [64, 96, 3], "64", [6.5, 8], None])
def test_a_size_that_is_no_pair_of_pixels_is_named(size: object) -> None:
    with pytest.raises(ValueError, match=r"data\.size=.*: set \[HEIGHT,WIDTH\]"):
        check_options(size, 1, None, None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("size", (64, 0)),
        ("batch_size", 0),
        ("val_batch_size", 0),
        ("num_workers", -1),
        ("flip", 2.0),
    ],
)
def test_an_option_out_of_range_is_named_at_the_start(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"data\.{option}="):
        SaliencyDataModule(popout_dataset((2, 1, 1), size=(24, 32)), **{option: value})
