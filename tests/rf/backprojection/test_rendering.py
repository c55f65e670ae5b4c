import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from deepsal.rf.backprojection.clamp import clamp_backprojection
from deepsal.rf.backprojection.rendering import render_clipped, render_scaled, render_wrapped

SWEEP = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)


def blob(peak: float, side: int = 161) -> NDArray[np.float32]:
    at = np.arange(side) - side // 2
    one = peak * np.exp(-(at[:, None] ** 2 + at**2) / (2 * (side / 5) ** 2))
    return np.repeat(one[None, None], 3, 1).astype(np.float32)


def rings(image: NDArray[np.uint8]) -> int:
    """How often grey falls from white to black between the border and the middle."""
    row = image[0, image.shape[1] // 2, : image.shape[2] // 2 + 1, 0].astype(int)
    return int((np.diff(row) < -128).sum())


@pytest.mark.parametrize("c", SWEEP)
def test_wrapped_a_blob_has_a_ring_for_every_256_levels(c: float) -> None:
    assert rings(render_wrapped(blob(600 * c))) == 600 * c // 256
    assert rings(render_clipped(blob(600 * c))) == rings(render_scaled(blob(600 * c))) == 0


def test_scaled_the_blob_is_the_same_at_every_c() -> None:
    images = [render_scaled(blob(600 * c)).astype(int) for c in SWEEP]
    assert all(np.abs(image - images[0]).max() <= 1 for image in images)
    assert images[0].max() == 255


def test_the_clamp_of_equal_kernels_becomes_rings_by_its_value_alone() -> None:
    layers: list[nn.Module] = []
    for stage in range(4):
        for channels in (1 if stage else 3, 1):
            convolution = nn.Conv2d(channels, 1, 3, padding=1)
            nn.init.constant_(convolution.weight, 1 / 9)
            layers += [convolution, nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    patterns = [clamp_backprojection(layers, [0], 2000 * c) for c in SWEEP]
    counts = [rings(render_wrapped(pattern)) for pattern in patterns]
    assert counts == [int(pattern.max()) // 256 for pattern in patterns]
    assert counts == sorted({*counts})
    assert {rings(render_scaled(pattern)) for pattern in patterns} == {0}


def test_panels_agree_as_those_of_the_papers_figure_do() -> None:
    first = render_wrapped(blob(300)).astype(int)
    for k in range(2, 7):
        remainder = (render_wrapped(k * blob(300)).astype(int) - k * first) % 256
        assert set(np.unique(remainder)) <= set(range(k))
        clipped = (render_clipped(k * blob(300)).astype(int) - k * first) % 256
        assert not set(np.unique(clipped)) <= set(range(k))


def test_a_sign_anywhere_makes_zero_mid_grey_everywhere() -> None:
    patterns = np.concatenate([blob(3), -blob(7), 0 * blob(1)])
    images = render_scaled(patterns)
    assert images.shape == (3, 161, 161, 3)
    assert images.dtype == np.uint8
    assert (images[0].max(), images[0].min()) == (255, 128)
    assert (images[1].max(), images[1].min()) == (128, 1)
    assert (images[2] == 128).all()
    assert (render_scaled(0 * blob(1)) == 0).all()


def test_colours_and_units_keep_their_place() -> None:
    pattern = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).view(2, 3, 4, 5).numpy()
    for render in (render_wrapped, render_clipped):
        assert render(pattern)[1, 2, 3, 0] == pattern[1, 0, 2, 3]
        assert render(pattern).shape == (2, 4, 5, 3)
    assert (render_scaled(pattern).max((1, 2, 3)) == 255).all()  # each unit by its own


@pytest.mark.parametrize("render", [render_wrapped, render_clipped, render_scaled])
def test_bad_input_is_named(render: object) -> None:
    assert callable(render)
    with pytest.raises(ValueError, match=r"must be \(U, 3, h, w\), not \(1, 161, 161\)"):
        render(blob(1)[0, :1])
    missing = blob(1)
    missing[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        render(missing)
    assert missing[0, 1].max() == 1  # the pattern itself is not touched
