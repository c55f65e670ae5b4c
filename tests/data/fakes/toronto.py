from pathlib import Path

import numpy as np
from scipy.io import savemat

from deepsal.data import toronto
from tests.data.fakes.fake import Fake, planted

FOLDER = "eyetrackingdata/fixdens"


def write(data_dir: Path) -> None:
    """120 small images and, in `white`, a cell of marks for each."""
    root = data_dir / "toronto" / FOLDER
    cells = np.empty((1, 120), dtype=object)
    for i in range(120):
        x, y = i % 16, i % 11
        planted(root / "Original Image Set" / f"{i + 1}.jpg", (16, 12), (x, y))
        cells[0, i] = np.zeros((12, 16), np.uint8)
        cells[0, i][[y, 11], [x, 15]] = 1
    savemat(root / "origfixdata.mat", {"white": cells})


TORONTO = Fake(
    name="toronto",
    load=toronto,
    write=write,
    images=120,
    fixations=240,
    splits=(80, 20, 20),
    image=f"{FOLDER}/Original Image Set/7.jpg",
    table=f"{FOLDER}/origfixdata.mat",
    points=lambda x, y, _: [[x, y], [15, 11]],
    observers=(0, 0),
    archives={"eyetrackingdata.zip": ("eyetrackingdata", "eyetrackingdata")},
)
