import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from deepsal.rf import measure
from deepsal.rf.fields import fields
from tests.conftest import difference_of_gaussians
from tests.rf.test_fields import SIDE, Planted, middle

TRUTH = difference_of_gaussians(SIDE, 0.9)


def negative(w: NDArray[np.float32]) -> float:
    """Negative over positive mass, from ring means, so that noise averages out."""
    radius, profile = measure.radial_profile(np.stack([w] * 3)[None])
    mass = profile[0] * radius
    return float(-mass[mass < 0].sum() / mass[mass > 0].sum())


def asked(method: str, samples: int = 32) -> NDArray[np.float32]:
    noise = torch.randn(16, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 0.3
    noise[:, :, 17:32, 17:32] += TRUTH / TRUTH.abs().max()
    found = fields(
        Planted(TRUTH[None]), "units", noise, middle(1, 16, (24, 24)), [0], method=method,
        samples=samples,
    )  # fmt: skip
    return np.asarray(found.field[0].sum(0))


@pytest.mark.parametrize(
    ("method", "samples", "tolerance"),
    [("gradient", 32, 0.01), ("integrated", 32, 0.01), ("smooth", 16, 0.01), ("sta", 2048, 0.15)],
)
def test_a_signed_method_recovers_a_planted_surround(
    method: str, samples: int, tolerance: float
) -> None:
    w = asked(method, samples)
    assert negative(w) == pytest.approx(negative(TRUTH.numpy()), rel=tolerance)
    assert np.abs(w).argmax() == SIDE * SIDE // 2
    assert w[SIDE // 2, SIDE // 2] > 0


def test_guided_backpropagation_shows_less_of_it() -> None:
    assert 0.1 < negative(asked("guided")) / negative(TRUTH.numpy()) < 0.9


def test_occlusion_on_patches_that_excite_hides_it() -> None:
    assert negative(asked("occlusion")) < 0.1 * negative(TRUTH.numpy())


@pytest.mark.parametrize("method", ["absolute_occlusion", "erf"])
def test_a_method_without_sign_cannot_show_it(method: str) -> None:
    assert asked(method).min() >= 0


@pytest.mark.parametrize("method", ["guided", "deconv"])
@pytest.mark.parametrize("rectifier", [nn.ReLU6, nn.GELU, nn.SiLU])
def test_rectifiers_that_captum_cannot_override_are_refused(
    method: str, rectifier: type[nn.Module]
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), rectifier(), nn.Conv2d(4, 4, 1))
    with pytest.raises(ValueError, match=r"nn.ReLU module.*use method=gradient"):
        fields(network, "2", torch.rand(1, 3, 16, 16), middle(1, 1, (8, 8)), [0], method=method)
