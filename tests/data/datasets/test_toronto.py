from pathlib import Path

import pytest
from PIL import Image
from scipy.io import savemat

from deepsal.data import toronto
from tests.data.conftest import Copied


@pytest.fixture
def fake(copied: Copied) -> Path:
    return copied("toronto")


def test_an_image_of_another_size_than_its_marks_is_named(fake: Path) -> None:
    file = fake / "toronto" / "eyetrackingdata" / "fixdens" / "Original Image Set" / "7.jpg"
    Image.new("RGB", (20, 12)).save(file)
    with pytest.raises(ValueError, match=r"7\.jpg has .*\(12, 20\), but .*mat says \(12, 16\)"):
        toronto(fake)


def test_a_foreign_file_is_named(fake: Path) -> None:
    file = fake / "toronto" / "eyetrackingdata" / "fixdens" / "origfixdata.mat"
    savemat(file, {"black": 1})
    with pytest.raises(ValueError, match=r"origfixdata\.mat is not a fixation file of Toronto"):
        toronto(fake)
