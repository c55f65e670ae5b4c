"""Files with the measurements of one network, for a verdict that may be interrupted."""

from dataclasses import replace
from pathlib import Path
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


def save_measurements(file: Path, measured: NetworkMeasurements) -> None:
    """Write the measurements of a network, without its weights, atomically.

    Args:
        file: in a folder that exists.
        measured: of the network.
    """
    with replace_file(file) as temporary:
        torch.save(replace(measured, weights={}), temporary)


def load_measurements(file: Path, network: nn.Module) -> NetworkMeasurements:
    """Read the measurements of a network that `save_measurements` has written.

    Args:
        file: of the same version of the code.
        network: whose measurements they are; its weights are added.
    """
    with safe_globals([*MEASUREMENT_TYPES, *ARRAY_TYPES]):
        measured: NetworkMeasurements = torch.load(file, weights_only=True)
    return replace(measured, weights=weights_on_cpu(network))
