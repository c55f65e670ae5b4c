from importlib import import_module
from pathlib import Path

import numpy as np
from scipy.io import savemat

from deepsal.data import salicon
from tests.data.fakes.fake import Fake, planted

PARTS = {"train": 3, "val": 4}
TOTAL = sum(PARTS.values())
COUNTS = {
    key: {"fixations": 2, "location": 4}[key[1]] * TOTAL
    for key in import_module("deepsal.data.datasets.salicon").FIXATION_COUNTS
}


def write(data_dir: Path) -> None:
    """Seven images; the .mat files have no key `I`."""
    root = data_dir / "salicon"
    for part, count in PARTS.items():
        (root / "fixations" / part).mkdir(parents=True)
        for i in range(count):
            name = f"COCO_{part}2014_{i:012d}"
            planted(root / "images" / part / f"{name}.jpg", (40, 24), place(i))
            write_table(root / "fixations" / part / f"{name}.mat", i)


def place(i: int) -> tuple[int, int]:
    return 5 * i, 3 + i


def write_table(file: Path, i: int, resolution: tuple[int, int] = (24, 40)) -> None:
    """A person with one fixation and two samples, one without, one off the image; from 1."""
    x, y = place(i)
    kind = [("location", object), ("timestamp", object), ("fixations", object)]
    gaze = np.empty(3, dtype=kind)
    gaze[0] = (np.array([[x + 1, y + 1], [2, 2]]), np.array([0, 10]), np.array([[x + 1, y + 1]]))
    gaze[1] = (np.empty((0, 2)), np.empty(0), np.empty((0, 0)))
    gaze[2] = (np.array([[0, 5], [41, 5]]), np.array([0, 10]), np.array([[1, 25]]))
    content = {"image": file.stem, "resolution": np.array(resolution), "gaze": gaze}
    savemat(file, content, long_field_names=True)


SALICON = Fake(
    name="salicon",
    load=salicon,
    write=write,
    images=TOTAL,
    fixations=2 * TOTAL,
    splits=(3, 2, 2),
    image="images/val/COCO_val2014_000000000001.jpg",
    table="fixations/val/COCO_val2014_000000000001.mat",
    points=lambda x, y, _: [[x, y]],
    observers=(0,),
    dropped={"off the image": TOTAL},
    constants={"FIXATION_COUNTS": COUNTS},
    archives={
        "salicon_images.zip": ("images", "images"),
        "salicon_fixations_2017.zip": ("fixations", ""),
    },
)
