from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

from deepsal.data import osie
from tests.data.fakes.fake import Fake, planted

COUNT = 203
NAMES = [f"{1001 + i}.jpg" for i in range(COUNT)]


def write(data_dir: Path) -> None:
    data = data_dir / "osie" / "data"
    (data / "eye").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        planted(data / "stimuli" / name, (8, 6), (i % 8, 2))
    write_table(data / "eye" / "fixations.mat")


def write_table(matrix: Path, names: Sequence[str] = NAMES) -> None:
    """Every image is fixated by three observers, twice, once and never, counted from 1."""
    kind = [("fix_x", object), ("fix_y", object)]
    cells = np.empty(len(names), dtype=object)
    for i, name in enumerate(names):
        subjects = np.empty(3, dtype=object)
        for j, (x, y) in enumerate([([1.0, 8.4], [1.0, 6.0]), ([i % 8 + 1.0], [2.5]), ([], [])]):
            subjects[j] = np.array((np.array(x), np.array(y)), dtype=kind)
        cells[i] = {"img": name, "subjects": subjects}
    savemat(matrix, {"fixations": cells.reshape(-1, 1)})


OSIE = Fake(
    name="osie",
    load=osie,
    write=write,
    images=COUNT,
    fixations=3 * COUNT,
    splits=(3, 100, 100),
    image="data/stimuli/1003.jpg",
    table="data/eye/fixations.mat",
    points=lambda x, y, _: [[0, 0], [7.4, 5], [x, y - 0.5]],
    observers=(0, 0, 1),
    tolerance=1e-9,
    partial=False,
    constants={"DUPLICATE_IMAGES": ("1005.jpg", "1007.jpg")},
)
