from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from deepsal.data import figrim
from tests.data.conftest import Refetch, same, stays

release = import_module("deepsal.data.figrim")
TARGETS = [*release.TWINS, *(f"tower/sun_{i}" for i in range(8))]
FILLERS = [f"castle/sun_{i}" for i in range(20)]
COUNT = len(TARGETS) + len(FILLERS)


def place(i: int) -> tuple[int, int]:
    return i % 16, i % 12


def write(root: Path, part: str, names: Sequence[str]) -> None:
    """Of three people one saw nothing, one looked off the image; targets are seen again."""
    images = np.empty(len(names), [(key, object) for key in ("filename", "category", "userdata")])
    for i, name in enumerate(names):
        (x, y), (category, stem) = place(i), name.split("/")
        picture = Image.new("RGB", (16, 12))
        picture.putpixel((x, y), (255, 255, 255))
        (root / part / category).mkdir(parents=True, exist_ok=True)
        picture.save(root / part / f"{name}.jpg", quality=100, subsampling=0)
        people = np.empty(3, [("trial", object), ("fixations", object)])
        again = [[3.0, 3.0]] if part == "Targets" else []
        people[0] = (7, {"enc": [[x + 1.0, y + 1.0]], "rec": again, "rec2": []})
        people[1] = ([], [])
        people[2] = (9, {"enc": [[x + 1.0, y + 1.0], [17.0, 3.0]], "rec": [], "rec2": []})
        images[i] = (f"{stem}.jpg", category, people)
    savemat(root / release.PARTS[part], {"allImages": images}, long_field_names=True)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    card = replace(release.CARD, images=COUNT, fixations=3 * COUNT + len(TARGETS))
    monkeypatch.setattr(release, "CARD", card)
    write(tmp_path / "figrim", "Fillers", FILLERS)
    write(tmp_path / "figrim", "Targets", TARGETS)
    return tmp_path


def test_the_planted_pixel_is_fixated_and_a_point_off_the_image_is_counted(fake: Path) -> None:
    data = figrim(fake)
    assert data.dropped == {"off the image": COUNT}
    assert data.stimuli[0].name == "Fillers/castle/sun_0.jpg"
    for stimulus in data.stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert stimulus.fixations.tolist() == [[float(at) for at in brightest]] * 2
        assert stimulus.subjects.tolist() == [0, 2]


def test_later_viewings_are_an_option(fake: Path) -> None:
    data = figrim(fake, viewings=["rec", "enc"])
    assert data.stimuli[-1].fixations[0].tolist() == [2, 2]
    with pytest.raises(ValueError, match=r"viewings=\['late'\]: the choices are \['enc', 'rec'"):
        figrim(fake, viewings=["late"])


def test_twins_are_in_training_and_no_image_is_left_out(fake: Path) -> None:
    data = figrim(fake)
    names = {data.stimuli[i].name for i in data.splits["train"]}
    assert {f"Targets/{name}.jpg" for name in release.TWINS} <= names
    assert [len(data.splits[split]) for split in ("val", "test")] == [4, 4]
    assert sorted(i for split in data.splits.values() for i in split) == list(range(COUNT))


def test_a_foreign_file_and_a_partial_copy_are_told(fake: Path) -> None:
    write(fake / "figrim", "Fillers", FILLERS[1:])
    with pytest.raises(ValueError, match=r"holds 39 images and 117 fixations.* 40 and 120"):
        figrim(fake)
    savemat(fake / "figrim" / release.PARTS["Fillers"], {"images": 1})
    with pytest.raises(ValueError, match=r"fillers\.mat is not a fixation file of FIGRIM"):
        figrim(fake)


def test_what_is_fetched_is_what_is_read(fake: Path, refetch: Refetch) -> None:
    archives = {f"{part}.zip": (part, part) for part in ("Fillers", "Targets")}
    archives |= {
        f"allImages_{of}.mat": (f"allImages_{of}.mat", "") for of in ("release", "fillers")
    }
    there = refetch("figrim", fake / "figrim", archives)
    assert same(figrim(there), figrim(fake))


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(fake: Path) -> None:
    assert stays(figrim(fake)) > 1
