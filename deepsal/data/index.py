"""Every data set with a release, by the name of its option."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets.card import CardTable, DatasetCard
from deepsal.data.datasets.cat2000 import DATASET_CARD as CAT2000
from deepsal.data.datasets.cat2000 import cat2000
from deepsal.data.datasets.eyecrowd import DATASET_CARD as EYECROWD
from deepsal.data.datasets.eyecrowd import eyecrowd
from deepsal.data.datasets.figrim import DATASET_CARD as FIGRIM
from deepsal.data.datasets.figrim import figrim
from deepsal.data.datasets.mit300 import DATASET_CARD as MIT300
from deepsal.data.datasets.mit300 import mit300
from deepsal.data.datasets.mit1003 import DATASET_CARD as MIT1003
from deepsal.data.datasets.mit1003 import mit1003
from deepsal.data.datasets.nus_scene import DATASET_CARD as NUS_SCENE
from deepsal.data.datasets.nus_scene import nus_scene
from deepsal.data.datasets.osie import DATASET_CARD as OSIE
from deepsal.data.datasets.osie import osie
from deepsal.data.datasets.pascal_s import DATASET_CARD as PASCAL_S
from deepsal.data.datasets.pascal_s import pascal_s
from deepsal.data.datasets.salicon import DATASET_CARD as SALICON
from deepsal.data.datasets.salicon import salicon
from deepsal.data.datasets.toronto import DATASET_CARD as TORONTO
from deepsal.data.datasets.toronto import toronto
from deepsal.data.formats.csv_folder import read_csv_folder

PUBLISHED_DATASETS: Mapping[str, tuple[DatasetCard, Callable[[Path], SaliencyDataset]]] = (
    MappingProxyType(
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
)


def dataset_cards() -> CardTable:
    """Return what is known of every data set with a release; prints as a table.

    >>> [card.fixations for card in dataset_cards() if card.name == "osie"]
    [98321]
    """
    return CardTable(card for card, _ in PUBLISHED_DATASETS.values())


def load_dataset(name: str, data_dir: Path) -> SaliencyDataset:
    """Return the data set `name` of `data_dir`, a release or a folder in the generic layout.

    Raises:
        ValueError: there is no such data set; the message lists the choices.
    """
    if name in PUBLISHED_DATASETS:
        return PUBLISHED_DATASETS[name][1](data_dir)
    if (data_dir / name / "images.csv").is_file():
        return read_csv_folder(data_dir / name, sigma=1.0)
    raise ValueError(
        f"no data set {name!r}: the choices are {[*PUBLISHED_DATASETS]} "
        f"and the folders of {data_dir} that "
        "hold an images.csv"
    )
