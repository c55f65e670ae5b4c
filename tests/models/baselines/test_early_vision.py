import pytest
import torch

from deepsal.models.baselines.early_vision import (
    GABOR_ORIENTATIONS,
    gabor_magnitudes,
    gaussian_pyramid,
    opponent_channels,
    resize_longer_side,
    scale_to_unit_range,
)


def colour(r: float, g: float, b: float) -> torch.Tensor:
    return torch.tensor([r, g, b])[None, :, None, None].expand(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0.5, 0.5, 0.5), (0.5, 0.0, 0.0)),
        ((0.6, 0.0, 0.0), (0.2, 3.0, 0.0)),  # R = r/I = 3; Y = 1.5 − 1.5 − 0
        ((0.0, 0.6, 0.0), (0.2, -3.0, 0.0)),
        ((0.0, 0.0, 0.6), (0.2, 0.0, 3.0)),
        ((0.6, 0.6, 0.0), (0.4, 0.0, -1.5)),  # R = G = .75, B cut at 0, Y = 1.5
    ],
)
def test_opponent_colours_are_those_of_the_formulae(
    rgb: tuple[float, float, float], expected: tuple[float, float, float]
) -> None:
    assert opponent_channels(colour(*rgb))[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_dark_pixel_has_no_colour() -> None:
    image = colour(1.0, 1.0, 1.0).clone()
    image[0, :, 0, 0] = torch.tensor([0.09, 0.0, 0.0])
    assert opponent_channels(image)[0, 1, 0, 0] == 0


def test_a_pyramid_halves_and_keeps_constants() -> None:
    levels = gaussian_pyramid(torch.full((1, 2, 48, 64), 0.7), 9)
    assert [tuple(level.shape[-2:]) for level in levels[:5]] == [
        (48, 64),
        (24, 32),
        (12, 16),
        (6, 8),
        (3, 4),
    ]
    assert all(level.allclose(torch.tensor(0.7)) for level in levels)


@pytest.mark.parametrize("degrees", GABOR_ORIENTATIONS)
def test_a_grating_excites_its_own_orientation_most(degrees: int) -> None:
    theta = torch.deg2rad(torch.tensor(float(degrees)))
    y, x = torch.meshgrid(torch.arange(41.0), torch.arange(41.0), indexing="ij")
    wave = torch.cos((y * theta.cos() + x * theta.sin()) * 2 * torch.pi / 7)  # bars run along theta
    strength = gabor_magnitudes(wave[None, None])[0, :, 10:-10, 10:-10].mean((1, 2))
    assert GABOR_ORIENTATIONS[int(strength.argmax())] == degrees
    assert strength.max() > 1.5 * strength.sort().values[-2]


def test_constants_have_no_orientation() -> None:
    assert gabor_magnitudes(torch.full((1, 1, 20, 20), 0.8)).abs().max() < 1e-6


def test_the_longer_side_is_resized() -> None:
    assert resize_longer_side(torch.rand(1, 3, 192, 256), 640).shape[-2:] == (480, 640)
    assert resize_longer_side(torch.rand(1, 3, 600, 400), 64).shape[-2:] == (64, 43)


def test_rounding_errors_are_not_scaled_up() -> None:
    maps = torch.full((1, 2, 3, 3), 0.5)
    maps[0, 0, 0, 0] += 1e-6
    maps[0, 1, 0, 0] += 1e-2
    assert scale_to_unit_range(maps, (-2, -1)).amax((-2, -1)).tolist() == [[0.0, 1.0]]
