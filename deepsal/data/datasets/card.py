"""Cards of published data sets: their counts and licence, and the source of their files."""

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import fill
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

OFF_IMAGE_LIMIT = 0.02
"""Share of fixations off their images above which images and fixations do not belong together."""


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """Licence, origin and expected counts of a data set; None stands for an unknown value.

    Args:
        name: the option, `data=name`, and the folder under `data_dir`.
        title: the name that its authors use.
        citation: authors, year and venue.
        images: the number of images that the loader returns.
        sigma: standard deviation of the ground truth's blur in pixels of the stored image.
        splits: the sizes of train, val and test, and who chose them.
        licence: of the fixations.
        fixations: their number in the release.
        observers: their number.
        viewing_seconds: the time that an image was shown.
        pixels_per_degree: pixels of the stored image per degree of visual angle.
        layout: the files that the loader reads, under `data_dir`.
        size: (height, width) of every image.
        longest_side: of every image in pixels, where they have several sizes.
        off_image_limit: the largest share of fixations off their images, where sizes are not
            stated: a release has few of them, a resized copy many.
    """

    name: str
    title: str
    citation: str
    images: int
    sigma: float
    splits: str
    licence: str | None = None
    fixations: int | None = None
    observers: int | None = None
    viewing_seconds: float | None = None
    pixels_per_degree: float | None = None
    layout: str = ""
    size: tuple[int, int] | None = None
    longest_side: int | None = None
    off_image_limit: float = OFF_IMAGE_LIMIT


class ReleaseArchive(NamedTuple):
    """An archive of a release, or a single file of it that is not packed.

    Args:
        url: its address.
        md5: its checksum.
        contents: the entry of the data set's folder that it provides. The name of the file itself
            stands for a file that is not packed.
        unpack_folder: the folder that it is unpacked into, relative to the data set's folder.
        stored_name: its name on disk, where that is not the last part of the address.
    """

    url: str
    md5: str
    contents: str
    unpack_folder: str = "."
    stored_name: str = ""

    @property
    def file_name(self) -> str:
        """Its name on disk."""
        return self.stored_name or self.url.rsplit("/", 1)[-1]


class ReleaseSource(NamedTuple):
    """The addresses of a release: archives, or a repository whose files come one by one.

    Args:
        archives: all of them; empty for a repository. The md5 checksums are those that pysaliency,
            the field's reference library, has recorded.
        repository: address of a pinned commit's files; `registry/NAME.txt` lists them with their
            sha256 checksums.
        folders: folders under the data folder, relative to it. The release is present if one of
            them exists. By default the folder of the release's name.
    """

    archives: tuple[ReleaseArchive, ...] = ()
    repository: str = ""
    folders: tuple[str, ...] = ()


class CardTable(tuple[DatasetCard, ...]):
    """Cards that print as a table, and the layout of the files of each data set."""

    def __str__(self) -> str:
        """Return the table, 80 columns wide."""
        table = Table("data=", box=None, pad_edge=False)
        for title in ("images", "fixations", "people", "s", "px/°", "blur"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("licence")
        for card in self:
            counts = _format_cells((card.images, card.fixations, card.observers), ",d")
            view = _format_cells((card.viewing_seconds, card.pixels_per_degree, card.sigma), "g")
            table.add_row(card.name, *counts, *view, card.licence or "not stated")
        console = Console(width=80, color_system=None, highlight=False)
        with console.capture() as captured:
            console.print(table)
        width = max((len(card.name) for card in self), default=0)
        layouts = [f"{card.name:{width}} {card.layout}" for card in self if card.layout]
        indent = " " * (width + 1)
        lines = [fill(line, 80, subsequent_indent=indent) for line in layouts]
        heading = ["", "files under data_dir"] if lines else []
        return "\n".join([captured.get().rstrip(), *heading, *lines])

    __repr__ = __str__


def _format_cells(values: Iterable[int | float | None], form: str) -> list[str]:
    return ["–" if value is None else format(value, form) for value in values]
