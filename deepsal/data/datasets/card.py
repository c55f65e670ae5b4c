"""What there is to know about a data set before it is downloaded."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class ArchiveAddress:
    """A file that holds a release or a part of it.

    Args:
        address: where its authors publish it.
        md5: its checksum, where one is known.
    """

    address: str
    md5: str | None = None


@dataclass(frozen=True)
class DatasetCard:
    """Licence, origin and expected counts of a data set; None stands for what is not known.

    Args:
        name: the option, `data=name`, and the folder under `data_dir`.
        title: what its authors call it.
        licence: of the fixations.
        citation: authors, year and venue.
        images: how many the loader returns.
        fixations: how many the release holds.
        subjects: how many people looked.
        seconds: for how long an image was shown.
        distance: from the eye to the screen, in cm.
        degree: pixels of the stored image per degree of visual angle.
        sigma: standard deviation of the ground truth's blur in pixels of the stored image.
        splits: the images of train, val and test and who chose them.
        archives: where it is got.
    """

    name: str
    title: str
    licence: str | None
    citation: str
    images: int
    fixations: int | None
    subjects: int | None
    seconds: float | None
    distance: float | None
    degree: float | None
    sigma: float
    splits: str
    archives: tuple[ArchiveAddress, ...]


class CardTable(tuple[DatasetCard, ...]):
    """Cards that print as a table."""

    def __str__(self) -> str:
        """Return the table, 80 columns wide."""
        table = Table("data=", box=None, pad_edge=False)
        for title in ("images", "fixations", "people", "s", "px/°", "blur"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("licence")
        for card in self:
            counts = (card.images, card.fixations, card.subjects)
            view = (card.seconds, card.degree, card.sigma)
            cells = [_or_dash(counts, ",d"), _or_dash(view, "g"), [card.licence or "not stated"]]
            table.add_row(card.name, *(cell for group in cells for cell in group))
        console = Console(width=80, color_system=None, highlight=False)
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip()

    __repr__ = __str__


def _or_dash(values: Iterable[int | float | None], form: str) -> list[str]:
    return ["–" if value is None else format(value, form) for value in values]
