"""Gratings of physiology in degrees of visual angle, and the responses of a layer to them.

Shapes: U units, R radii, F frequencies, O orientations, P phases, C contrasts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsal.rf.measures.profile import FloatArray
from deepsal.rf.tuning.indices import ResponseArray

SMALL_GRATING = {"radius": 1 / 6, "frequency": 3.0}
"""Radius in degrees and frequency in cycles per degree of the gratings that map fields."""
CONTRASTS = (0.125, 0.25, 0.5, 1.0)
"""Contrasts of the centre, as shares of the full one."""
SURROUNDS = ("low", "iso", "ortho", "annulus")
"""Gratings at full contrast about a centre: of the lowest contrast that excites the unit · of full
contrast · of full contrast, the two at 90 degrees · of no contrast."""


@dataclass(frozen=True)
class GratingProtocol:
    """Stimuli in degrees of visual angle; the defaults are those of `deepsal.rf.v1`."""

    pixels_per_degree: float = 28.0
    """A choice: 28 puts 8 degrees on 224 pixels."""
    display: float = 12.0
    """Smallest side of the image, degrees."""
    radius: tuple[float, ...] = (
        *(0.105, 0.149, 0.210, 0.297, 0.420, 0.595),
        *(0.841, 1.189, 1.682, 2.378, 3.364, 4.757),
    )
    """(R,) of gratings and disks, degrees."""
    frequency: tuple[float, ...] = (0.771, 1.542, 3.084, 6.169)
    """(F,) of the gratings of size tuning, cycles per degree."""
    orientation: tuple[float, ...] = (0.0, 30.0, 60.0, 90.0, 120.0, 150.0)
    """(O,) degrees."""
    phase: tuple[float, ...] = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
    """(P,) degrees, evenly over 360; an even number, because halves of them give errors."""
    tuning_frequency: tuple[float, ...] = (
        *(0.42, 0.59, 0.84, 1.18, 1.67, 2.37, 3.35, 4.73, 6.69, 9.47, 13.4, 18.9),
    )
    """Frequencies of frequency and orientation tuning, cycles per degree: the middles of the bins
    of macaque V1. Those above half a cycle per pixel are left out. Empty: no such tuning."""
    tuning_radius: float = 1.189
    """Radius of the gratings of frequency and orientation tuning, degrees."""
    centres: int = 1
    """Number of stimulus centres along each axis, spread over the largest stride. Each unit uses
    the centre and the position of the layer that are nearest to its field: n centres put it within
    stride/(2n) of its field along each axis, at n² times the cost."""

    def __post_init__(self) -> None:
        """Check that the pixels show the gratings.

        Raises:
            ValueError: a frequency above half a cycle per pixel, an odd number of phases, or no
                stimulus centre.
        """
        shown = self.pixels_per_degree / 2
        if max(*self.frequency, SMALL_GRATING["frequency"]) > shown:
            raise ValueError(
                f"pixels_per_degree={self.pixels_per_degree:g} shows frequencies up to {shown:g} "
                f"cycles per degree; set it to {2 * max(self.frequency):.1f} or more"
            )
        if len(self.phase) % 2 or len(self.phase) < 6:
            raise ValueError(f"{len(self.phase)} phases; give an even number, 6 or more")
        if self.centres < 1:
            raise ValueError(f"centres={self.centres}; set it to 1 or more")

    def tuning_frequencies(self) -> FloatArray:
        """Return the frequencies of frequency tuning that the pixels show, cycles per degree."""
        return np.array([f for f in self.tuning_frequency if f <= self.pixels_per_degree / 2])


SHORT_PROTOCOL = GratingProtocol(phase=(0.0, 60.0, 120.0, 180.0, 240.0, 300.0), tuning_frequency=())
"""Size tuning alone, with six phases, for comparisons of many networks.

On EfficientNet-Lite0 five stages take 37 seconds of one core. Its SSI has
a rank correlation with that of the defaults of .89 .98 .98 .93 .98 (conv1 to conv5; untrained .81
.91 .71 .79 .82), and medians of .00 .05 .43 .95 .99 (defaults .00 .05 .41 .94 .99).
"""


@dataclass(frozen=True)
class GratingResponses:
    """Responses of a layer's units before their rectifier, that to the background included."""

    protocol: GratingProtocol
    blank: ResponseArray
    """(U,), the response to grey, or to the image behind the stimuli."""
    gratings: ResponseArray
    """(U, R, F, O, P)."""
    tuning: ResponseArray
    """(U, F', O, P), at `tuning_frequencies` and `tuning_radius`."""
    disks: ResponseArray
    """(U, 2, R): bright and dark."""
    field_centre: FloatArray
    """(U, 2), row and column of the measured centre of the field from the theoretical one,
    degrees; NaN for a unit that no small grating excites."""
    offset: FloatArray
    """(U, 2), row and column of the field from the centre of the stimuli, degrees."""
    surround: ResponseArray | None = None
    """(U, C + 4, P), of the unit's best grating, its centre as large as its summation field: at
    `CONTRASTS` without surround, and with each of `SURROUNDS`."""
    low_contrast: NDArray[np.int64] | None = None
    """(U,), index of the contrast of the centre in "low"."""
