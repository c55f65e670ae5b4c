"""MIT300: 300 photographs whose fixations a benchmark keeps (Judd et al. 2012)."""

from pathlib import Path

from deepsal.data.dataset import SaliencyDataset
from deepsal.data.datasets.card import ArchiveAddress, DatasetCard
from deepsal.data.datasets.reading import existing_path, images_only_dataset, list_images

DATASET_CARD = DatasetCard(
    name="mit300",
    title="MIT300",
    licence=None,
    citation="Judd, Durand & Torralba 2012, A Benchmark of Computational Models of Saliency",
    images=300,
    fixations=None,
    subjects=None,
    seconds=None,
    distance=None,
    degree=None,
    sigma=34.0,
    splits="test only",
    archives=(
        ArchiveAddress(
            "http://saliency.mit.edu/BenchmarkIMAGES.zip", "03ed32bdf5e4289950cd28df89451260"
        ),
    ),
)


def mit300(data_dir: str | Path, whole: bool = True) -> SaliencyDataset:
    """Read the images of MIT300: `mit300/BenchmarkIMAGES/*.jpg`.

    For predictions that the MIT/Tübingen benchmark scores: it keeps the fixations.

    Args:
        data_dir: the folder that holds `mit300/`.
        whole: refuse other counts than 300; False accepts a partial copy.

    Raises:
        FileNotFoundError: the folder is missing; the message says which option to set.
        ValueError: there are not 300 images.
    """
    folder = existing_path(Path(data_dir) / DATASET_CARD.name / "BenchmarkIMAGES", DATASET_CARD)
    images = list_images(folder, "*.jpg")
    return images_only_dataset(DATASET_CARD, images, [image.name for image in images], whole)
