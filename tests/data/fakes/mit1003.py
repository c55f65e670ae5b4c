from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from deepsal.data import mit1003
from tests.data.fakes.fake import Fake, planted

SIZE = (256, 150)
NAMES = [f"i{n:02d}june05_static_street_boston_p1010{n:03d}" for n in range(19)]
NAMES.append("istatic_outdoor_street_boston_park_cambridge_uk_IMG_" + "0" * 18)
PEOPLE = ("CNG", "ajs")


def write(data_dir: Path) -> None:
    """Twenty images; everybody starts in the middle, then one place, a blink, off the image."""
    root = data_dir / "mit1003"
    for i, name in enumerate(NAMES):
        planted(root / "ALLSTIMULI" / f"{name}.jpeg", SIZE, place(i))
    (root / "ALLSTIMULI" / "Thumbs.db").write_bytes(b"stray")
    for person in PEOPLE:
        (root / "DATA" / person).mkdir(parents=True)
        savemat(root / "DATA" / person / "CalibrationData.mat", {"passed": 1})
        for i, name in enumerate(NAMES):
            places = [(SIZE[0] / 2, SIZE[1] / 2), place(i), (-300, -300), (100, 250)]
            write_trial(root / "DATA" / person / f"{name}.mat", gaze(*places))
    (root / "DATA" / ".DS_Store").write_bytes(b"stray")


def place(i: int) -> tuple[int, int]:
    return 6 + 12 * i, 10 + i


def gaze(*places: tuple[float, float]) -> NDArray[np.float64]:
    """A quarter of a second in each place, 25 ms in between."""
    legs = [np.repeat([places[0]], 60, axis=0)]
    for a, b in pairwise(places):
        legs += [np.linspace(a, b, 8)[1:-1], np.repeat([b], 60, axis=0)]
    return np.concatenate(legs)


def write_trial(file: Path, eye_data: NDArray[np.float64]) -> None:
    """As the release does: one variable, named after the image and cut to 63 letters."""
    trial = {"imgName": f"{file.stem}.jpeg", "DATA": {"eyeData": eye_data}}
    savemat(file, {file.stem[:63]: trial}, long_field_names=True)


MIT1003 = Fake(
    name="mit1003",
    load=mit1003,
    write=write,
    images=len(NAMES),
    fixations=2 * len(NAMES),
    splits=(16, 2, 2),
    image=f"ALLSTIMULI/{NAMES[3]}.jpeg",
    table=f"DATA/ajs/{NAMES[3]}.mat",
    points=lambda x, y, _: [[x, y]] * 2,
    observers=(0, 1),
    dropped={"first of a trial": 40, "blink or off the image": 80},
    tolerance=0.5,
    listed=False,
    archives={"ALLSTIMULI.zip": ("ALLSTIMULI", "ALLSTIMULI"), "DATA.zip": ("DATA", "DATA")},
)
