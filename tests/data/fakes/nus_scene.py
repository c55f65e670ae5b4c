from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from deepsal.data import nus_scene
from tests.data.fakes.fake import Fake, Points, planted

COUNT = 150
SIZES = [(8, 6), (12, 16)]


def write(data_dir: Path) -> None:
    """Scenes of two sizes; the second observer saw none."""
    data = data_dir / "nus_scene" / "data"
    (data / "tidy").mkdir(parents=True)
    cells = np.empty((COUNT, 3), dtype=object)
    for i in range(COUNT):
        planted(data / "stimuli" / f"{i + 1:03d}.jpg", SIZES[i % 2], (i % 8, 2))
        cells[i] = [rows(i), np.empty((0, 0), np.uint8), rows(i)[:1]]
    savemat(data / "tidy" / "fixations.mat", {"fixations": cells})


def rows(i: int) -> NDArray[np.float64]:
    """Two fixations in (y, x, start_s, duration_s): on pixel (i % 8, 2), and in the last corner."""
    width, height = SIZES[i % 2]
    return np.array([[2.4, i % 8 + 0.9, 0.3, 0.2], [height - 0.07, width - 0.07, 0.5, 0.1]])


def points(x: int, y: int, size: tuple[int, int]) -> Points:
    first = [x + 0.4, y - 0.1]
    return [first, [size[1] - 0.57, size[0] - 0.57], first]


NUS_SCENE = Fake(
    name="nus_scene",
    load=nus_scene,
    write=write,
    images=COUNT,
    fixations=3 * COUNT,
    splits=(10, 40, 100),
    image="data/stimuli/003.jpg",
    table="data/tidy/fixations.mat",
    points=points,
    observers=(0, 0, 2),
    tolerance=1e-9,
)
