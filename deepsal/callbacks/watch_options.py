"""Options of the fields that a run maps at its checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepsal.callbacks.noise_fields import NOISE_SOURCES, REVERSE_CORRELATION
from deepsal.rf.mapping.cell_noise import BLOCK_COUNT
from deepsal.rf.mapping.methods import FIELD_METHODS
from deepsal.vocabulary import STAGES

PATCH_SOURCES = ("centred", "strongest", "blank", "noise")


@dataclass(frozen=True)
class WatchOptions:
    """Options of the fields that a run maps: `rf.stages`, `rf.units` and so on.

    Args:
        stages: submodules of `network.backbone`.
        units: the first so many channels of each stage, or their numbers.
        patches: patches per unit and source of patches.
        sources: kinds of fields. Changes are measured on the first one. Of `reverse_correlation`:
            `natural` and `grey`, noise on validation images and on grey. Of patches, with
            `reverse_correlation` one field per patch, else their mean: `centred`, the
            first validation images, with the unit in the middle, the same at every checkpoint;
            `strongest`, the validation images that the unit responds to most at this checkpoint;
            `blank`, a grey image; `noise`, white noise. None: `natural`, `grey` and `strongest`, or
            with another method `centred` and `strongest`.
        window: side of a stored field, pixels.
        method: `reverse_correlation` of all units, with the gradient on patches; or one of
            `deepsal.rf.map_receptive_fields`, on patches alone.
        target: of reverse correlation: median reliability at which a stage stops.
        pairs: of reverse correlation: largest number of pairs of noise images per stage and source.
        tuning: whether size tuning by gratings and by disks is measured too.

    Raises:
        ValueError: an unknown stage, source or method, the message lists the choices; a target or
            a number of pairs out of range.
    """

    stages: Sequence[str] = STAGES
    units: int | Sequence[int] = 16
    patches: int = 4
    sources: Sequence[str] | None = None
    window: int = 129
    method: str = "gradient"
    target: float = 0.9
    pairs: int = 2048
    tuning: bool = True

    def __post_init__(self) -> None:
        noise = NOISE_SOURCES if self.method == REVERSE_CORRELATION else ()
        for option, values, choices in (
            ("stages", self.stages, STAGES),
            ("method", [self.method], (REVERSE_CORRELATION, *FIELD_METHODS)),
            ("sources", self.all_sources, (*noise, *PATCH_SOURCES)),
        ):
            if unknown := [value for value in values if value not in choices]:
                at = f" with rf.method={self.method}" if option == "sources" else ""
                names = ", ".join(map(str, unknown))
                raise ValueError(f"rf.{option}{at}: {names} is none of {', '.join(choices)}")
        if noise and self.all_sources[0] not in noise:
            raise ValueError(
                f"rf.sources={self.all_sources} with rf.method={self.method} must start with one "
                f"of {list(noise)}; or set rf.method=gradient"
            )
        if not 0 < self.target < 1:
            raise ValueError(f"rf.target={self.target} is a reliability: between 0 and 1")
        if self.pairs < BLOCK_COUNT:
            raise ValueError(f"rf.pairs={self.pairs} is too small: use {BLOCK_COUNT} or more")

    @property
    def all_sources(self) -> list[str]:
        """Sources, those of the method where none are named."""
        if self.sources is not None:
            return list(self.sources)
        first = NOISE_SOURCES if self.method == REVERSE_CORRELATION else ("centred",)
        return [*first, "strongest"]

    @property
    def noise_sources(self) -> list[str]:
        """Sources that are measured with noise."""
        measured = NOISE_SOURCES if self.method == REVERSE_CORRELATION else ()
        return [source for source in self.all_sources if source in measured]

    @property
    def patch_method(self) -> str:
        """Method of the fields on patches."""
        return "gradient" if self.method == REVERSE_CORRELATION else self.method
