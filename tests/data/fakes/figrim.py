from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from scipy.io import savemat

from deepsal.data import figrim
from tests.data.fakes.fake import Fake, planted

loader = import_module("deepsal.data.datasets.figrim")
TARGETS = [*loader.DUPLICATE_IMAGES, *(f"tower/sun_{i}" for i in range(8))]
FILLERS = [f"castle/sun_{i}" for i in range(20)]
COUNT = len(TARGETS) + len(FILLERS)


def write(data_dir: Path) -> None:
    write_part(data_dir / "figrim", "Fillers", FILLERS)
    write_part(data_dir / "figrim", "Targets", TARGETS)


def write_part(root: Path, part: str, names: Sequence[str]) -> None:
    """Of three people one saw nothing, one looked off the image; targets are seen again."""
    images = np.empty(len(names), [(key, object) for key in ("filename", "category", "userdata")])
    for i, name in enumerate(names):
        (x, y), (category, stem) = (i % 16, i % 12), name.split("/")
        planted(root / part / f"{name}.jpg", (16, 12), (x, y))
        people = np.empty(3, [("trial", object), ("fixations", object)])
        again = [[3.0, 3.0]] if part == "Targets" else []
        people[0] = (7, {"enc": [[x + 1.0, y + 1.0]], "rec": again, "rec2": []})
        people[1] = ([], [])
        people[2] = (9, {"enc": [[x + 1.0, y + 1.0], [17.0, 3.0]], "rec": [], "rec2": []})
        images[i] = (f"{stem}.jpg", category, people)
    savemat(root / loader.FIXATION_TABLES[part], {"allImages": images}, long_field_names=True)


FIGRIM = Fake(
    name="figrim",
    load=figrim,
    write=write,
    images=COUNT,
    fixations=3 * COUNT + len(TARGETS),
    splits=(COUNT - 8, 4, 4),
    image="Fillers/castle/sun_3.jpg",
    table=loader.FIXATION_TABLES["Fillers"],
    points=lambda x, y, _: [[x, y]] * 2,
    observers=(0, 2),
    dropped={"off the image": COUNT},
    archives={
        **{f"{part}.zip": (part, part) for part in ("Fillers", "Targets")},
        **{f"allImages_{of}.mat": (f"allImages_{of}.mat", "") for of in ("release", "fillers")},
    },
)
