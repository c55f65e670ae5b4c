from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from deepsal.rf.tuning import stimuli

SIZE, CENTRE = (41, 50), (19.3, 24.8)
ROUND: dict[str, Callable[..., Tensor]] = {
    "disk": lambda size, centre: stimuli.disk_images(size, centre, [1.0, 2.5, 7.3]),
    "dark": lambda size, centre: stimuli.disk_images(size, centre, [1.0, 2.5, 7.3], [-0.2]),
    "patch": lambda size, centre: stimuli.grating_images(
        size, centre, [0.15] * 3, [0.0, 30.0, 90.0], [0.0], radius=[8.0]
    ),
    "ring": lambda size, centre: stimuli.grating_images(
        size, centre, [0.15] * 3, [0.0, 30.0, 90.0], [0.0], radius=[8.0], inner=[2.0, 3.0, 5.0]
    ),
}


def distance(size: tuple[int, int], centre: tuple[float, float]) -> Tensor:
    rows, columns = (torch.arange(n) - at for n, at in zip(size, centre, strict=True))
    return torch.hypot(rows[:, None], columns[None])


@pytest.mark.parametrize("name", ROUND)
def test_a_stimulus_lies_on_grey_and_is_centred_to_a_fraction_of_a_pixel(name: str) -> None:
    images = ROUND[name](SIZE, CENTRE)
    assert images.shape == (3, 3, *SIZE)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert (images[..., distance(SIZE, CENTRE) > 10] == 0.5).all()
    mass = (images - 0.5).square().sum(1)
    for axis, at in enumerate(CENTRE):
        profile = mass.sum(2 - axis)
        centroid = (profile * torch.arange(SIZE[axis])).sum(1) / profile.sum(1)
        assert (centroid - at).abs().max() < 0.05


@pytest.mark.parametrize("name", ["disk", "dark"])
@pytest.mark.parametrize("side", [20, 21])
def test_round_stimuli_have_the_symmetries_of_the_square(name: str, side: int) -> None:
    images = ROUND[name]((side, side), ((side - 1) / 2, (side - 1) / 2))
    assert torch.equal(images, images.flip(2))
    assert torch.equal(images, images.flip(3))
    assert torch.equal(images, images.transpose(2, 3))


def test_a_disk_has_its_area() -> None:
    radius = [2.0, 3.5, 6.0, 9.0]
    disks = stimuli.disk_images(SIZE, CENTRE, radius)
    area = (disks[:, 0] - 0.5).sum((1, 2)) / 0.5
    assert area.numpy() == pytest.approx(np.pi * np.square(radius), rel=0.03)


def test_a_ring_and_a_patch_of_its_inner_radius_make_a_larger_patch() -> None:
    wave, radius = ([0.1], [30.0], [45.0]), [2.0, 3.5, 6.0]
    rings = stimuli.grating_images(SIZE, CENTRE, *wave, radius=[9.0], inner=radius)
    patches = stimuli.grating_images(SIZE, CENTRE, *wave, radius=radius)
    whole = stimuli.grating_images(SIZE, CENTRE, *wave, radius=[9.0])
    assert torch.allclose(rings + patches - 0.5, whole.expand(3, -1, -1, -1), atol=1e-6)


def test_contrast_is_the_distance_from_grey_and_its_sign() -> None:
    bright, dark = stimuli.disk_images(SIZE, CENTRE, [5.0], [0.3, -0.3])[:, :, 19, 25]
    assert torch.allclose(bright, torch.tensor(0.8))
    assert torch.allclose(dark, torch.tensor(0.2))


@pytest.mark.parametrize(("cycles", "angle"), [((4, 0), 0.0), ((0, 6), 90.0), ((8, 8), 45.0)])
def test_a_grating_has_its_frequency_and_orientation(cycles: tuple[int, int], angle: float) -> None:
    frequency = np.hypot(*cycles) / 64
    image = stimuli.grating_images((64, 64), (0.0, 0.0), [frequency], [angle], [0.0])[0, 0]
    spectrum = torch.fft.fft2(image - 0.5).abs()
    peaks = {(int(r), int(c)) for r, c in (spectrum > spectrum.max() / 2).nonzero()}
    assert peaks == {cycles, (-cycles[0] % 64, -cycles[1] % 64)}


def test_stripes_run_along_their_orientation_counter_clockwise() -> None:
    image = stimuli.grating_images((64, 64), (32.0, 32.0), [0.1], [30.0], [0.0])[0, 0]
    dark = stimuli.grating_images((64, 64), (32.0, 32.0), [0.1], [30.0], [180.0])[0, 0]
    assert image[32, 32] == 1
    along = image[32 - 11, 32 + 19]  # 30 degrees up to the right: tan 30 = 0.577 = 11/19
    assert along > 0.99
    assert image[32 + 4, 32 + 3] < 0.01  # half a period across
    assert torch.allclose(dark, 1 - image, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: stimuli.disk_images(SIZE, CENTRE, [0.0]), "radius is 0"),
        (lambda: stimuli.disk_images(SIZE, CENTRE, [2.0], [0.6]), "leaves"),
        (lambda: stimuli.grating_images(SIZE, CENTRE, [0.6], [0.0], [0.0]), "cycles"),
        (
            lambda: stimuli.grating_images(SIZE, CENTRE, [0.1], [0.0], [0.0], inner=[0.0]),
            "radius is 0",
        ),
    ],
)
def test_what_cannot_be_shown_is_an_error(call: Callable[[], Tensor], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
