from pathlib import Path

import numpy as np
from scipy.io import savemat

from deepsal.data import eyecrowd
from tests.data.fakes.fake import Fake, planted

COUNT = 143


def write(data_dir: Path) -> None:
    """Cells of structs, counted from 1; the first of three people also looked off the image."""
    data = data_dir / "eyecrowd" / "data"
    (data / "eye").mkdir(parents=True)
    cells = np.empty(COUNT, dtype=object)
    for i in range(COUNT):
        name = f"{i + 1:03d}.jpg"
        planted(data / "stimuli" / name, (16, 12), (i % 16, i % 12))
        subjects = np.empty(3, dtype=object)
        rows = [([i % 16 + 1.0, 99.0], [i % 12 + 1.0, 3.0]), ([], []), ([], [])]
        for j, (x, y) in enumerate(rows):
            subjects[j] = {"fix_x": x, "fix_y": y, "fix_duration": [200.0] * len(x)}
        cells[i] = {"img": name, "subjects": subjects}
    savemat(data / "eye" / "fixations.mat", {"fixations": cells})


EYECROWD = Fake(
    name="eyecrowd",
    load=eyecrowd,
    write=write,
    images=COUNT,
    fixations=2 * COUNT,
    splits=(3, 40, 100),
    image="data/stimuli/003.jpg",
    table="data/eye/fixations.mat",
    points=lambda x, y, _: [[x, y]],
    observers=(0,),
    dropped={"off the image": COUNT},
)
