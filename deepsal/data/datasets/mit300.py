"""MIT300: 300 photographs whose fixations a benchmark does not publish (Judd et al. 2012)."""

from pathlib import Path

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets import reading
from deepsal.data.datasets.card import DatasetCard, ReleaseArchive, ReleaseSource

DATASET_CARD = DatasetCard(
    name="mit300",
    title="MIT300",
    citation="Judd, Durand & Torralba 2012, A Benchmark of Computational Models of Saliency",
    images=300,
    sigma=34.0,
    splits="test only",
    layout="mit300/BenchmarkIMAGES/*.jpg",
)
# The server has no https; the checksum protects the download.
IMAGE_ARCHIVE = ReleaseArchive(
    "http://saliency.mit.edu/BenchmarkIMAGES.zip",
    "03ed32bdf5e4289950cd28df89451260",
    contents="BenchmarkIMAGES",
)
SOURCES = {"mit300": ReleaseSource((IMAGE_ARCHIVE,))}


def mit300(data_dir: str | Path, check_counts: bool = True) -> SaliencyDataset:
    """Read the images of MIT300: `mit300/BenchmarkIMAGES/*.jpg`.

    For predictions that the MIT/Tübingen benchmark scores: its server holds the fixations.

    Args:
        data_dir: the folder that holds `mit300/`.
        check_counts: refuse other counts than 300; False accepts a partial copy.

    Raises:
        FileNotFoundError: the folder is missing; the message names the option to set.
        ValueError: the number of images is not 300.
    """
    folder = reading.existing_path(
        Path(data_dir) / DATASET_CARD.name / "BenchmarkIMAGES", DATASET_CARD
    )
    images = reading.list_images(folder, "*.jpg")
    names = [image.name for image in images]
    return reading.images_only_dataset(DATASET_CARD, images, names, check_counts)
