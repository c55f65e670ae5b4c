"""Files with the measurements of networks, for a verdict that may be interrupted."""

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.serialization import safe_globals

from deepsal.atomic import replace_file
from deepsal.rf.claims.calibration import CalibratedRule
from deepsal.rf.claims.measurements import (
    NetworkMeasurements,
    PatternMeasurements,
    StageMeasurements,
    weights_on_cpu,
)
from deepsal.rf.store import weights_fingerprint

MEASUREMENT_TYPES: list[Any] = [
    NetworkMeasurements,
    StageMeasurements,
    PatternMeasurements,
    CalibratedRule,
]
ARRAY_TYPES: list[Any] = [
    *(np.ndarray, np.dtype, np.empty(0).__reduce__()[0]),
    *(type(np.dtype(name)) for name in ("float32", "float64", "int64", "bool")),
]
"""What pickled arrays of numbers consist of."""


class MeasurementFiles:
    """Files of a folder with the measurements of networks, until the verdict is written.

    Args:
        folder: of the files.
        first: the network whose noise all others share.
        options: on which the measurements depend, values for JSON.
    """

    def __init__(self, folder: Path, first: nn.Module, options: Mapping[str, Any]) -> None:
        self.folder, self.first, self.options = folder, first, dict(options)

    def save(self, network: nn.Module, measured: NetworkMeasurements) -> None:
        """Write the measurements of a network, without its weights, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replace_file(self._file(network)) as temporary:
            torch.save(replace(measured, weights={}), temporary)

    def load(self, network: nn.Module) -> NetworkMeasurements | None:
        """Read the measurements of a network; None where these were not written."""
        file = self._file(network)
        if not file.is_file():
            return None
        with safe_globals([*MEASUREMENT_TYPES, *ARRAY_TYPES]):
            measured: NetworkMeasurements = torch.load(file, weights_only=True)
        return replace(measured, weights=weights_on_cpu(network))

    def remove(self) -> None:
        """Remove the folder."""
        rmtree(self.folder)

    def _file(self, network: nn.Module) -> Path:
        """Return the file that is named after the network, the first one and the options."""
        weights = [weights_fingerprint(of) for of in (network, self.first)]
        text = json.dumps([weights, self.options], default=list)
        return self.folder / f"{sha256(text.encode()).hexdigest()[:16]}.pt"
