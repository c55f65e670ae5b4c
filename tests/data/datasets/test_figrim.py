from pathlib import Path

import pytest
from scipy.io import savemat

from deepsal.data import figrim
from tests.data.conftest import Copied
from tests.data.fakes.figrim import COUNT, FILLERS, loader, write_part


@pytest.fixture
def fake(copied: Copied) -> Path:
    return copied("figrim")


def test_later_viewings_are_an_option(fake: Path) -> None:
    data = figrim(fake, viewings=["rec", "enc"])
    assert data.stimuli[-1].fixations[0].tolist() == [2, 2]
    with pytest.raises(ValueError, match=r"viewings=\['late'\]: the choices are \['enc', 'rec'"):
        figrim(fake, viewings=["late"])


def test_twins_are_in_training_and_no_image_is_left_out(fake: Path) -> None:
    data = figrim(fake)
    assert data.stimuli[0].name == "Fillers/castle/sun_0.jpg"
    names = {data.stimuli[i].name for i in data.splits["train"]}
    assert {f"Targets/{name}.jpg" for name in loader.DUPLICATE_IMAGES} <= names
    assert [len(data.splits[split]) for split in ("val", "test")] == [4, 4]
    assert sorted(i for split in data.splits.values() for i in split) == list(range(COUNT))


def test_a_foreign_file_and_a_partial_copy_are_told(fake: Path) -> None:
    write_part(fake / "figrim", "Fillers", FILLERS[1:])
    with pytest.raises(ValueError, match=r"holds 39 images and 117 fixations.* 40 and 120"):
        figrim(fake)
    savemat(fake / "figrim" / loader.FIXATION_TABLES["Fillers"], {"images": 1})
    with pytest.raises(ValueError, match=r"fillers\.mat is not a fixation file of FIGRIM"):
        figrim(fake)
