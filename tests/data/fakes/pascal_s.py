from pathlib import Path

import h5py
import numpy as np

from deepsal.data import pascal_s
from tests.data.fakes.fake import Fake, planted

COUNT = 172


def write(data_dir: Path) -> None:
    """As MATLAB 7.3 stores a cell: references to arrays of y, x, subject, counted from 1."""
    root = data_dir / "pascal_s" / "datasets"
    (root / "fixations").mkdir(parents=True)
    with h5py.File(root / "fixations" / "pascalFix.mat", "w", userblock_size=512) as file:
        cells = file.create_dataset("fixCell", (1, COUNT), dtype=h5py.ref_dtype)
        for i in range(COUNT):
            x, y = i % 16, i % 12
            planted(root / "imgs" / "pascal" / f"{i + 1}.jpg", (16, 12), (x, y))
            rows = np.array([[y + 1, 13, y + 1], [x + 1, 1, x + 1], [1, 1, 3]], np.float64)
            cells[0, i] = file.create_dataset(f"#refs#/{i}", data=rows).ref


PASCAL_S = Fake(
    name="pascal_s",
    load=pascal_s,
    write=write,
    images=COUNT,
    fixations=3 * COUNT,
    splits=(2, 85, 85),
    image="datasets/imgs/pascal/7.jpg",
    table="datasets/fixations/pascalFix.mat",
    points=lambda x, y, _: [[x, y]] * 2,
    observers=(0, 2),
    dropped={"off the image": COUNT},
    archives={"salObj.zip": ("datasets", "datasets")},
)
