from pathlib import Path

import numpy as np
import pytest
import torch

from deepsal.data import nus_scene
from deepsal.data.dataset import rasterise_fixations
from tests.data.conftest import Copied


@pytest.fixture
def fake(copied: Copied) -> Path:
    return copied("nus_scene")


def test_the_planted_pixel_is_fixated_and_nothing_is_lost_at_the_border(fake: Path) -> None:
    for stimulus in nus_scene(fake).stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert np.abs(stimulus.fixations[0] - brightest).max() <= 0.5
        counts = rasterise_fixations(
            torch.from_numpy(stimulus.fixations), stimulus.size, stimulus.size
        )
        assert counts[brightest[1], brightest[0]] == 2
        assert counts[-1, -1] == 1


def test_the_blur_is_as_large_on_the_screen_for_every_image(fake: Path) -> None:
    for stimulus in nus_scene(fake).stimuli:
        height, width = stimulus.size
        assert stimulus.sigma is not None
        assert stimulus.sigma * min(1080 / height, 1920 / width) == pytest.approx(33.75)


@pytest.mark.data
def test_the_release_is_whole(data_dir: Path) -> None:
    data = nus_scene(data_dir)
    assert len(data.stimuli) == 500
    assert sum(len(s.fixations) for s in data.stimuli) == 43_894
    assert sum(len(np.unique(s.observers)) for s in data.stimuli) == 6000 - 52
    assert sum(s.size == (256, 256) for s in data.stimuli) == 311
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [360, 40, 100]


@pytest.mark.data
def test_every_fixation_of_the_release_lies_on_its_image_and_touches_both_borders(
    data_dir: Path,
) -> None:
    stimuli = nus_scene(data_dir).stimuli
    low = np.min([(s.fixations + 0.5).min(0) for s in stimuli], axis=0)
    high = np.min([(s.size[::-1] - s.fixations - 0.5).min(0) for s in stimuli], axis=0)
    assert ((low > 0) & (low < 1)).all()
    assert ((high > 0) & (high < 1)).all()


@pytest.mark.data
def test_coordinates_are_tenths_of_the_pixels_of_a_screen_of_1920x1080(data_dir: Path) -> None:
    for stimulus in nus_scene(data_dir).stimuli:
        size, screen = np.array(stimulus.size[::-1]), np.array([1920, 1080])
        magnification = (screen / size).min()
        tenths = 10 * (
            (stimulus.fixations + 0.5) * magnification + (screen - size * magnification) / 2
        )
        assert np.abs(tenths - tenths.round()).max() < 1e-6
        assert stimulus.sigma is not None
        assert stimulus.sigma * magnification == pytest.approx(33.75)
