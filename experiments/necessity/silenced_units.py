"""Units that are silenced: evidence for a surround, and matched units.

Letters in shapes: N images, U units of a stage, (h, w) the map of a stage.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsal.rf import size_tuning_indices
from deepsal.rf.claims.calibration import (
    calibrate_rule,
    centre_surround_evidence,
    strongest_axis,
)
from deepsal.rf.mapping.noise_fields import NoiseFields
from deepsal.rf.tuning.grating_protocol import GratingResponses
from deepsal.rf.tuning.size_tuning import SUPPRESSED

FloatArray = NDArray[np.float64]
NEAREST = 3
"""A matched unit is drawn from so many nearest ones."""


def field_evidence(fields: NoiseFields, plantings: int) -> tuple[FloatArray, dict[str, float]]:
    """Return the evidence of units for a centre-surround field, (U,), and a description of it.

    The evidence of a unit whose field is not reliable is NaN.
    """
    axis = strongest_axis(fields.blocks)
    evidence = centre_surround_evidence(axis.blocks.mean(0))
    evidence[~axis.reliable] = np.nan
    rule = calibrate_rule(axis, plantings)
    called = (evidence[axis.reliable] > rule.threshold).mean() if rule else np.nan
    return evidence, {
        "reliability": fields.median,
        "usable": float(axis.reliable.mean()),
        "called": float(called),
        "power_0.55": rule.decisive_power if rule else np.nan,
    }


def size_evidence(responses: GratingResponses) -> tuple[FloatArray, dict[str, float]]:
    """Return the suppression of units by large gratings, (U,), and a description of it.

    The index is that of the responses before the rectifier, where an inhibited unit exceeds 1;
    after it half of the units of deep stages have 1. Units that do not respond have NaN.
    """
    tuning = size_tuning_indices(responses)
    linear = size_tuning_indices(responses, rectified=False).index["ssi"]
    called = (tuning.index["ssi"][tuning.responsive] >= SUPPRESSED).mean()
    description = {"usable": float(tuning.responsive.mean()), "called": float(called)}
    return np.where(tuning.responsive, linear, np.nan), description


def unit_properties(stage: nn.Module, response: Tensor) -> FloatArray:
    """Return the properties by which units are matched, (U, 3), each of variance 1 over units.

    They are the mean response, the logarithm of its standard deviation over images and positions,
    and the logarithm of the norm of the unit's weights in the last convolution of the stage, with
    batch norm folded in.

    Args:
        stage: the stage; its last convolution writes its channels.
        response: (N, U, h, w).
    """
    convolution = [m for m in stage.modules() if isinstance(m, nn.Conv2d)][-1]
    norm = convolution.weight.flatten(1).norm(dim=1)
    scales = [m for m in stage.modules() if isinstance(m, nn.BatchNorm2d)]
    if scales and scales[-1].running_var is not None:
        norm = norm * scales[-1].weight.abs() / (scales[-1].running_var + scales[-1].eps).sqrt()
    logs = [response.std((0, 2, 3)).clamp(min=1e-8).log(), norm.clamp(min=1e-8).log()]
    values = torch.stack([response.mean((0, 2, 3)), *logs], 1).double()
    standardised: FloatArray = ((values - values.mean(0)) / values.std(0)).numpy()
    return standardised


def match_units(properties: FloatArray, chosen: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw for each chosen unit another unit of similar properties, none twice.

    Args:
        properties: (U, 3).
        chosen: units, which are not drawn.
        seed: of the draw among the nearest units that are left.
    """
    random = np.random.default_rng(seed)
    left = np.setdiff1d(np.arange(len(properties)), chosen)
    drawn = np.zeros(len(chosen), np.int64)
    for place in random.permutation(len(chosen)):
        distance = np.square(properties[left] - properties[chosen[place]]).sum(1)
        drawn[place] = left[random.choice(distance.argsort()[:NEAREST])]
        left = left[left != drawn[place]]
    return drawn
