"""Index of the published data sets, by the name of their option."""

from collections.abc import Callable
from pathlib import Path

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import (
    cat2000,
    coco_freeview,
    eyecrowd,
    figrim,
    mit300,
    mit1003,
    nus_scene,
    osie,
    pascal_s,
    salicon,
    toronto,
)
from deepsal.data.datasets.card import CardTable, DatasetCard, ReleaseSource
from deepsal.data.formats.csv_folder import read_csv_folder
from deepsal.data.popout.popout import popout_dataset

PUBLISHED_DATASETS: dict[str, tuple[DatasetCard, Callable[[Path], SaliencyDataset]]] = {
    "osie": (osie.DATASET_CARD, osie.osie),
    "nus_scene": (nus_scene.DATASET_CARD, nus_scene.nus_scene),
    "eyecrowd": (eyecrowd.DATASET_CARD, eyecrowd.eyecrowd),
    "mit1003": (mit1003.DATASET_CARD, mit1003.mit1003),
    "salicon": (salicon.DATASET_CARD, salicon.salicon),
    "coco_freeview": (coco_freeview.DATASET_CARD, coco_freeview.coco_freeview),
    "cat2000": (cat2000.DATASET_CARD, cat2000.cat2000),
    "mit300": (mit300.DATASET_CARD, mit300.mit300),
    "pascal_s": (pascal_s.DATASET_CARD, pascal_s.pascal_s),
    "figrim": (figrim.DATASET_CARD, figrim.figrim),
    "toronto": (toronto.DATASET_CARD, toronto.toronto),
}
RELEASE_SOURCES: dict[str, ReleaseSource] = {
    **osie.SOURCES,
    **nus_scene.SOURCES,
    **eyecrowd.SOURCES,
    **mit1003.SOURCES,
    **salicon.SOURCES,
    **coco_freeview.SOURCES,
    **cat2000.SOURCES,
    **mit300.SOURCES,
    **pascal_s.SOURCES,
    **figrim.SOURCES,
    **toronto.SOURCES,
}
"""Addresses by the name of the release, which is the data set's name, with the year for SALICON."""


def dataset_cards() -> CardTable:
    """Return the cards of all published data sets; they print as a table.

    >>> [card.fixations for card in dataset_cards() if card.name == "osie"]
    [98321]
    """
    return CardTable(card for card, _ in PUBLISHED_DATASETS.values())


def load_dataset(name: str, data_dir: Path) -> SaliencyDataset:
    """Return a published data set, the generated `popout`, or a folder in the CSV layout.

    Args:
        name: of the data set or of the folder.
        data_dir: the folder that holds it.

    Raises:
        ValueError: the name is unknown; the message lists the choices.
    """
    if name in PUBLISHED_DATASETS:
        return PUBLISHED_DATASETS[name][1](data_dir)
    if name == "popout":
        return popout_dataset()
    if (data_dir / name / "images.csv").is_file():
        return read_csv_folder(data_dir / name, sigma=1.0)
    raise ValueError(
        f"no data set {name!r}: the choices are {[*PUBLISHED_DATASETS, 'popout']} "
        f"and the folders of {data_dir} that hold an images.csv"
    )
