from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepsal.data import salicon
from tests.data.conftest import Copied, Refetch, same
from tests.data.fakes.salicon import TOTAL, write_table


@pytest.fixture
def fake(copied: Copied) -> Path:
    return copied("salicon")


@pytest.mark.parametrize("release", [2015, 2017])
def test_the_planted_pixel_is_fixated_and_a_point_off_the_image_is_counted(
    fake: Path, release: int
) -> None:
    data = salicon(fake, release=release)
    assert data.name == f"SALICON {release}"
    assert data.dropped == {"off the image": TOTAL}
    for stimulus in data.stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert stimulus.fixations.tolist() == [[float(at) for at in brightest]]
        assert stimulus.observers.tolist() == [0]


def test_mouse_samples_are_an_option(fake: Path) -> None:
    data = salicon(fake, kind="location")
    assert data.dropped == {"off the image": 2 * TOTAL}
    assert data.stimuli[0].fixations.tolist() == [[0, 3], [1, 1]]


def test_the_official_split_is_kept_and_val_halved(fake: Path) -> None:
    splits = salicon(fake).splits
    assert list(splits["train"]) == [0, 1, 2]
    assert sorted([*splits["val"], *splits["test"]]) == [3, 4, 5, 6]
    assert len(splits["val"]) == len(splits["test"]) == 2


def test_two_releases_may_lie_side_by_side(fake: Path) -> None:
    (fake / "salicon" / "fixations").rename(fake / "salicon" / "fixations2015")
    assert len(salicon(fake, release=2015).stimuli) == TOTAL
    with pytest.raises(FileNotFoundError, match="no SALICON here"):
        salicon(fake, release=2017)


@pytest.mark.parametrize("options", [{"release": 2016}, {"kind": "mouse"}])
def test_an_unknown_option_lists_the_choices(fake: Path, options: dict[str, object]) -> None:
    load: Callable[..., object] = salicon
    with pytest.raises(ValueError, match=r"the choices are \[2015, 2017\] and \['fixations'"):
        load(fake, **options)


def test_another_resolution_than_the_images_is_told(fake: Path) -> None:
    write_table(
        fake / "salicon" / "fixations" / "val" / "COCO_val2014_000000000001.mat", 1, (40, 24)
    )
    with pytest.raises(ValueError, match=r"001\.jpg has .*\(24, 40\), but .*\.mat says \(40, 24\)"):
        salicon(fake)


def test_a_partial_copy_is_refused_unless_wanted(fake: Path) -> None:
    (fake / "salicon" / "fixations" / "val" / "COCO_val2014_000000000001.mat").unlink()
    with pytest.raises(ValueError, match="holds 6 images and 12 fixations"):
        salicon(fake)
    assert len(salicon(fake, check_counts=False).stimuli) == 6


def test_what_is_fetched_is_what_is_read_and_a_second_release_joins_it(
    fake: Path, refetch: Refetch
) -> None:
    for release in (2017, 2015):
        archives = {
            "salicon_images.zip": ("images", "images"),
            f"salicon_fixations_{release}.zip": ("fixations", ""),
        }
        folder = refetch(f"salicon{release}", fake / "salicon", archives)
        assert same(salicon(folder, release), salicon(fake, release))
    names = {path.name for path in (folder / "salicon").iterdir()} - {"__MACOSX"}
    assert names == {"images", "fixations2015", "fixations2017"}
