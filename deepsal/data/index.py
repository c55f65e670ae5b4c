"""Every data set with a release, by the name of its option."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets.card import Card, Cards
from deepsal.data.datasets.cat2000 import CARD as CAT2000
from deepsal.data.datasets.cat2000 import cat2000
from deepsal.data.datasets.eyecrowd import CARD as EYECROWD
from deepsal.data.datasets.eyecrowd import eyecrowd
from deepsal.data.datasets.figrim import CARD as FIGRIM
from deepsal.data.datasets.figrim import figrim
from deepsal.data.datasets.mit300 import CARD as MIT300
from deepsal.data.datasets.mit300 import mit300
from deepsal.data.datasets.mit1003 import CARD as MIT1003
from deepsal.data.datasets.mit1003 import mit1003
from deepsal.data.datasets.nus_scene import CARD as NUS_SCENE
from deepsal.data.datasets.nus_scene import nus_scene
from deepsal.data.datasets.osie import CARD as OSIE
from deepsal.data.datasets.osie import osie
from deepsal.data.datasets.pascal_s import CARD as PASCAL_S
from deepsal.data.datasets.pascal_s import pascal_s
from deepsal.data.datasets.salicon import CARD as SALICON
from deepsal.data.datasets.salicon import salicon
from deepsal.data.datasets.toronto import CARD as TORONTO
from deepsal.data.datasets.toronto import toronto
from deepsal.data.formats.csv_folder import folder

RELEASES: Mapping[str, tuple[Card, Callable[[Path], SaliencyDataset]]] = MappingProxyType(
    {
        card.name: (card, loader)
        for card, loader in (
            (OSIE, osie),
            (NUS_SCENE, nus_scene),
            (EYECROWD, eyecrowd),
            (MIT1003, mit1003),
            (SALICON, salicon),
            (CAT2000, cat2000),
            (MIT300, mit300),
            (PASCAL_S, pascal_s),
            (FIGRIM, figrim),
            (TORONTO, toronto),
        )
    }
)


def cards() -> Cards:
    """Return what is known of every data set with a release; prints as a table.

    >>> [card.fixations for card in cards() if card.name == "osie"]
    [98321]
    """
    return Cards(card for card, _ in RELEASES.values())


def load(name: str, data_dir: Path) -> SaliencyDataset:
    """Return the data set `name` of `data_dir`, a release or a folder in the generic layout.

    Raises:
        ValueError: there is no such data set; the message lists the choices.
    """
    if name in RELEASES:
        return RELEASES[name][1](data_dir)
    if (data_dir / name / "images.csv").is_file():
        return folder(data_dir / name, sigma=1.0)
    raise ValueError(
        f"no data set {name!r}: the choices are {[*RELEASES]} and the folders of {data_dir} that "
        "hold an images.csv"
    )
