from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from deepsal.data import SaliencyDataModule, SaliencyDataset, Stimulus
from deepsal.data.augment import ImageView, RandomAugmentation, cut_window
from deepsal.data.batch import Sample

SIZE = (60, 88)
POINT = (37, 21)


def drawn(x: float, y: float, size: tuple[int, int] = SIZE) -> Tensor:
    """A bright blob, a pixel and a half wide, at a point."""
    down, across = (torch.arange(n) - at for n, at in zip(size, (y, x), strict=True))
    blob = torch.exp(-(down[:, None].square() + across.square()) / (2 * 1.5**2))
    return (255 * blob).round().byte().repeat(3, 1, 1)


def planted(x: float, y: float) -> SaliencyDataset:
    points, subjects = np.array([[x, y]], dtype=np.float64), np.zeros(1, dtype=np.int64)
    reader = partial(drawn, x, y)
    stimuli = [Stimulus(f"{i}", SIZE, points, subjects, reader) for i in range(3)]
    return SaliencyDataset("planted", stimuli, {"train": [0], "val": [1], "test": [2]}, 3.0)


def centre(maps: Tensor) -> list[float]:
    weights = maps.double() / maps.double().sum()
    down, across = (torch.arange(n, dtype=torch.float64) for n in weights.shape)
    return [float((weights.sum(0) * across).sum()), float((weights.sum(1) * down).sum())]


def shown(sample: Sample) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Where the sample's fixation lies in pixels of the network's image."""
    scale = np.array(sample.image.shape[:0:-1]) / sample.size[::-1]
    place: np.ndarray[tuple[int], np.dtype[np.float64]] = (
        sample.points[0].numpy() + 0.5
    ) * scale - 0.5
    return place


@pytest.mark.parametrize("size", [(60, 88), (30, 44), (45, 51), (90, 120)])
@pytest.mark.parametrize("crop", [1.0, 0.8, 0.4])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_planted_blob_stays_under_its_fixation_through_crop_flip_and_resize(
    size: tuple[int, int], crop: float, flip: float
) -> None:
    torch.manual_seed(0)
    data = SaliencyDataModule(planted(*POINT), size, 1, flip=flip, crop=crop, colour=0.3)
    places = set()
    for _ in range(8):
        sample = data.images["train"][0]
        assert sample.image.shape == (3, *size)
        at, peak = shown(sample), sample.image[0] - sample.image[0].max() / 2
        assert np.abs(centre(peak.clamp(min=0)) - at).max() <= 0.5
        counted = np.array(sample.fixations.nonzero()[0].tolist()[::-1])
        assert np.abs(counted - at).max() <= 0.5 + 1e-9
        places.add(tuple(at.round(3)))
    assert len(places) == (1 if crop == 1 else 8)


def test_the_blur_of_a_crop_is_magnified_with_it() -> None:
    torch.manual_seed(1)
    data = SaliencyDataModule(planted(44, 30), (120, 176), 1, flip=0.0, crop=0.5)
    for _ in range(5):
        sample = data.images["train"][0]
        at = torch.arange(176) - shown(sample)[0]
        spread = float((sample.density.sum(0) * at.square()).sum().sqrt())
        magnified = 176 / sample.size[1]  # kept at twice the network's size, thus 4 per pixel
        assert spread == pytest.approx(3 * 4 * magnified, rel=0.05)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9, 1.0])
def test_a_crop_keeps_enough_fixations_and_no_other(keep: float) -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    points = torch.from_numpy(random.uniform(-0.5, (87.4, 59.4), (40, 2)))
    view = ImageView(drawn(5, 5), points, SIZE)
    counts, sizes = [], set()
    for _ in range(60):
        changed = RandomAugmentation(flip=0.0, crop=0.5, keep=keep)(view)
        height, width = changed.size
        assert changed.image.shape == (3, height, width)
        assert (
            (changed.points >= -0.5) & (changed.points < torch.tensor([width, height]) - 0.5)
        ).all()
        counts.append(len(changed.points))
        sizes.add(changed.size)
    assert min(counts) >= max(1, keep * 40)
    assert len(sizes) > (1 if keep < 1 else 0)


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(60, 40), (30, 88)])
def test_a_window_holds_as_many_fixations_as_it_can_or_must(
    size: tuple[int, int], keep: float
) -> None:
    torch.manual_seed(0)
    points = torch.rand(40, 2, dtype=torch.float64) * torch.tensor([88.0, 60.0]) - 0.5
    view, axis = ImageView(drawn(*POINT), points, SIZE), int(size[0] == SIZE[0])
    most = max(
        len(cut_window(view, size, 1.0, torch.Generator().manual_seed(i)).points)
        for i in range(100)
    )
    starts = range(SIZE[axis] - size[axis] + 1)
    along = points[:, 1 - axis]
    held = [int(((along >= s - 0.5) & (along < s + size[axis] - 0.5)).sum()) for s in starts]
    assert most == max(held)
    windows = [cut_window(view, size, keep) for _ in range(40)]
    assert {window.image.shape for window in windows} == {(3, *size)}
    assert min(len(window.points) for window in windows) >= min(max(1, keep * 40), most)
    assert len({len(window.points) for window in windows}) > 1 or keep == 1


def test_a_window_without_a_draw_is_the_one_nearest_the_middle_that_is_fixated() -> None:
    near_edge = torch.tensor([[80.0, 10.0]], dtype=torch.float64)
    window = cut_window(ImageView(drawn(80, 10), near_edge, SIZE), (60, 40))
    assert window.points.tolist() == [[39.0, 10.0]]
    unfixated = cut_window(ImageView(drawn(44, 10), near_edge[:0], SIZE), (60, 40))
    assert torch.equal(unfixated.image, drawn(44, 10)[:, :, 24:64])


def test_a_fixation_at_the_border_of_a_crop_is_counted() -> None:
    torch.manual_seed(0)
    corners = torch.tensor([[-0.5, -0.5], [87.49, 59.49]], dtype=torch.float64)
    view = ImageView(drawn(5, 5), corners, SIZE)
    assert {len(RandomAugmentation(crop=0.6, keep=0.0)(view).points) for _ in range(200)} <= {1, 2}


def test_colour_changes_pixels_and_nothing_else() -> None:
    torch.manual_seed(0)
    view = ImageView(torch.randint(0, 255, (3, *SIZE), dtype=torch.uint8), torch.ones(2, 2), SIZE)
    changed = RandomAugmentation(flip=0.0, colour=0.4)(view)
    assert not torch.equal(changed.image, view.image)
    assert changed._replace(image=view.image) == view


def test_only_training_images_are_augmented() -> None:
    data = SaliencyDataModule(planted(*POINT), SIZE, 1, flip=1.0, crop=0.5, colour=0.5)
    for split in ("val", "test"):
        assert torch.equal((data.images[split][0].image * 255).round().byte(), drawn(*POINT))


@pytest.mark.parametrize(
    ("option", "value"), [("flip", 1.5), ("crop", 0.0), ("keep", -0.1), ("colour", 2.0)]
)
def test_an_option_out_of_range_is_named(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"data\.{option}={value} must lie between .* and 1"):
        RandomAugmentation(**{option: value})
