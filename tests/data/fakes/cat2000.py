from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from deepsal.data import cat2000
from tests.data.fakes.fake import Fake, planted

CATEGORIES = ["Action", "Pattern"]


def write(data_dir: Path) -> None:
    """Two categories of ten; one image says that it should be turned, a Mac left a file."""
    root = data_dir / "cat2000"
    for part in ("trainSet", "testSet"):
        for category in CATEGORIES:
            (root / part / "Stimuli" / category / "Output").mkdir(parents=True)
            (root / part / "Stimuli" / category / "._001.jpg").write_bytes(b"stray")
            for i in range(10):
                exif = Image.Exif()
                if (category, i) == ("Pattern", 4):
                    exif[0x0112] = 6
                file = root / part / "Stimuli" / category / f"{i + 1:03d}.jpg"
                planted(file, (16, 9), place(i), exif=exif)
    for category in CATEGORIES:
        (root / "trainSet" / "FIXATIONLOCS" / category).mkdir(parents=True)
        for i in range(10):
            marked = np.zeros((9, 16), np.uint8)
            marked[place(i)[1], place(i)[0]] = 1
            file = root / "trainSet" / "FIXATIONLOCS" / category / f"{i + 1:03d}.mat"
            savemat(file, {"fixLocs": marked})


def place(i: int) -> tuple[int, int]:
    return i, i % 9


CAT2000 = Fake(
    name="cat2000",
    load=cat2000,
    write=write,
    images=20,
    fixations=None,
    splits=(16, 2, 2),
    image="trainSet/Stimuli/Action/003.jpg",
    table="trainSet/FIXATIONLOCS/Action/003.mat",
    points=lambda x, y, _: [[x, y]],
    observers=(0,),
    listed=False,
    archives={f"{part}.zip": (part, part) for part in ("trainSet", "testSet")},
)
