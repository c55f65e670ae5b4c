"""Batches of an epoch that can be taken up in its middle."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from deepsal.data.sample import Batch

Taken = tuple[Tensor, int]
"""Torch's random state when an epoch began, and how many of its batches were used."""


class Loader(DataLoader[Batch]):
    """Torch's, whose first epoch may be one that was cut short; what was used of it is passed over.

    What was used is loaded again and thrown away, so that the workers' random states come to where
    they were. An epoch begins when its first batch is asked for: a distributed sampler has then
    been told which epoch it is.

    Args:
        taken: where the first epoch was cut; None for a whole one.
        *given: as torch's.
        **named: as torch's.

    Attributes:
        began: torch's random state when the newest epoch began.
    """

    def __init__(self, *given: Any, taken: Taken | None = None, **named: Any) -> None:
        super().__init__(*given, **named)
        self.taken = taken
        self.began: Tensor | None = None

    @override
    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        now = torch.get_rng_state()
        self.began, used = self.taken or (now, 0)
        self.taken = None
        torch.set_rng_state(self.began)
        batches = super().__iter__()
        if used:
            for _ in range(used):
                next(batches)
            torch.set_rng_state(now)
        yield from batches
