import json
from pathlib import Path
from typing import Any

from deepsal.data import coco_freeview
from tests.data.fakes.fake import Fake, planted

TABLE = "COCOFreeView_fixations_trainval.json"
NAMES = [f"{i:012d}.jpg" for i in range(1, 10)]
VIEWED, WITHHELD = NAMES[:7], NAMES[7:]
FOLDERS = ("images/car", "coco_search18_images_TA/stop sign")


def write(data_dir: Path) -> None:
    """Seven viewed images, the first of them in both folders, and two without fixations."""
    root = data_dir / "coco_freeview"
    for i, name in enumerate(NAMES):
        for folder in FOLDERS if i == 0 else [FOLDERS[i % 2]]:
            planted(root / folder / name, (40, 24), place(i))
    trials = [trial for i in range(len(VIEWED)) for trial in trials_on(i)]
    (root / TABLE).write_text(json.dumps(trials[::-1]))


def place(i: int) -> tuple[int, int]:
    return 4 * i, 3 + i


def trials_on(i: int) -> list[dict[str, Any]]:
    """Two people start at the centre; the second, number 10, also looks off the image."""
    x, y = place(i)
    shared = {"name": VIEWED[i], "split": "valid" if i in (1, 3, 4, 6) else "train"}
    shared |= {"task": "free-viewing", "condition": "freeview"}
    first = {"subject": 2, "X": [20.0, x], "Y": [12.0, y], "T": [200, 150], "length": 2}
    second = {"subject": 10, "X": [20.5, 1, x, 40], "Y": [12.5, 2, y, 5], "T": [9] * 4, "length": 4}
    return [shared | first, shared | second]


COCO_FREEVIEW = Fake(
    name="coco_freeview",
    load=coco_freeview,
    write=write,
    images=len(VIEWED),
    fixations=6 * len(VIEWED),
    splits=(3, 2, 2),
    image=f"{FOLDERS[1]}/{NAMES[1]}",
    table=TABLE,
    points=lambda x, y, _: [[x, y], [1, 2], [x, y]],
    observers=(0, 1, 1),
    dropped={"off the image": len(VIEWED), "first of a trial": 2 * len(VIEWED)},
    listed=False,
    archives={
        "COCOSearch18-images-TP.zip": ("images", "images"),
        "COCOSearch18-images-TA.zip": ("coco_search18_images_TA", "coco_search18_images_TA"),
        TABLE: (TABLE, ""),
    },
)
