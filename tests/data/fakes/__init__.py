"""A small copy of every release, for the tests of its loader and of all loaders."""

from tests.data.fakes.cat2000 import CAT2000
from tests.data.fakes.coco_freeview import COCO_FREEVIEW
from tests.data.fakes.eyecrowd import EYECROWD
from tests.data.fakes.fake import Fake
from tests.data.fakes.figrim import FIGRIM
from tests.data.fakes.mit300 import MIT300
from tests.data.fakes.mit1003 import MIT1003
from tests.data.fakes.nus_scene import NUS_SCENE
from tests.data.fakes.osie import OSIE
from tests.data.fakes.pascal_s import PASCAL_S
from tests.data.fakes.salicon import SALICON
from tests.data.fakes.toronto import TORONTO

FAKES = {
    fake.name: fake
    for fake in (
        OSIE, NUS_SCENE, EYECROWD, MIT1003, SALICON, COCO_FREEVIEW, CAT2000, MIT300, PASCAL_S,
        FIGRIM, TORONTO,
    )
}  # fmt: skip

__all__ = ["FAKES", "Fake"]
