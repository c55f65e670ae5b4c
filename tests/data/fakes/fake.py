"""The description of a small copy of a release."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from deepsal.data import SaliencyDataset

Points = list[list[float]]


@dataclass(frozen=True)
class Fake:
    """A small copy of a release in the layout of its authors, and what its loader makes of it.

    name: the set's option and folder.
    load: its loader.
    write: writes the copy into a data folder.
    images, fixations: its counts; None where nothing is counted.
    splits: the sizes of train, val and test.
    image: one of its images, in the set's folder.
    table: one of its files of fixations, in the set's folder; None where the release has none.
    points: the fixations (x, y) of an image of (height, width) whose planted pixel is (x, y).
    observers: the observer of each.
    dropped: how many fixations are left out, by reason.
    tolerance: by how many pixels a coordinate may differ.
    listed: a table names the images and their folder; if not, the folders are the list.
    partial: the loader reads an incomplete copy if it is told so.
    constants: what else is replaced in the loader's module.
    archives: for each archive of the release, the part of the folder that it holds and the name
        of its root; a release without archives is fetched file by file.
    """

    name: str
    load: Callable[..., SaliencyDataset]
    write: Callable[[Path], None]
    images: int
    fixations: int | None
    splits: tuple[int, int, int]
    image: str
    table: str | None
    points: Callable[[int, int, tuple[int, int]], Points]
    observers: Sequence[int] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    tolerance: float = 0.0
    listed: bool = True
    partial: bool = True
    constants: Mapping[str, Any] = field(default_factory=dict)
    archives: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def module(self) -> ModuleType:
        """The module of the loader, which has the loader's name."""
        return import_module(f"deepsal.data.datasets.{self.name}")

    def install(self, monkeypatch: pytest.MonkeyPatch, **counts: Any) -> None:
        """Make the loader expect the counts of the copy and no size, or others."""
        small = {"size": None, "longest_side": None, "off_image_limit": 1.0}
        expected = {"images": self.images, "fixations": self.fixations, **small, **counts}
        monkeypatch.setattr(
            self.module, "DATASET_CARD", replace(self.module.DATASET_CARD, **expected)
        )
        for constant, value in self.constants.items():
            monkeypatch.setattr(self.module, constant, value)


def planted(file: Path, size: tuple[int, int], place: tuple[int, int], **options: Any) -> None:
    """Write a black JPEG of (width, height) with one white pixel at (x, y)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size)
    image.putpixel(place, (255, 255, 255))
    image.save(file, quality=100, subsampling=0, **options)
