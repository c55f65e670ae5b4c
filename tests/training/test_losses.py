from pathlib import Path

import pytest
import torch
import yaml

from deepsal.metrics import functional
from deepsal.training.losses import PendingLossTerms, SaliencyLoss

PRESETS = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
RECIPES = {
    "kl_cc_nss": (1, 0.1, 0.1, 0),
    "kl": (1, 0, 0, 0),
    "cc": (0, 1, 0, 0),
    "sam": (10, 2, 1, 0),
    "transalnet": (10, 2, 1, 1),
    "unisal": (1, 0.1, 0.1, 0),
    "eml": (1, 1, 1, 0),
    "cvpr2019": (0, 0, 1, 0),
}


def maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    log_density = torch.randn(4, 9, 11).flatten(1).log_softmax(1).view(4, 9, 11)
    fixations = torch.poisson(torch.full((4, 9, 11), 0.2))
    return log_density, fixations / fixations.sum((1, 2), keepdim=True), fixations


def test_the_loss_is_the_signed_sum_of_the_scores() -> None:
    log_density, density, fixations = maps()
    loss, terms = SaliencyLoss(kl=2.0, cc=3.0, nss=5.0, sim=7.0)(log_density, density, fixations)
    kl, cc, nss, sim = (
        getattr(functional, name)(log_density, fixations if name == "nss" else density).mean()
        for name in ("kl", "cc", "nss", "sim")
    )
    assert torch.allclose(loss, 2 * kl - 3 * cc - 5 * nss - 7 * sim)
    assert terms == {"kl": kl, "cc": cc, "nss": nss, "sim": sim}


@pytest.mark.parametrize("name", ["kl", "cc", "nss", "sim"])
def test_a_step_downhill_improves_every_term(name: str) -> None:
    log_density, density, fixations = maps()
    log_density.requires_grad_()
    criterion = SaliencyLoss(**{name: 1.0})
    loss, _ = criterion(log_density, density, fixations)
    (gradient,) = torch.autograd.grad(loss, log_density)
    better, _ = criterion((log_density - 0.1 * gradient).detach(), density, fixations)
    assert better < loss


@pytest.mark.parametrize("weights", [{"kl": -1.0}, {}, {"kl": 0.0}])
def test_weights_are_positive(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="signs are built in"):
        SaliencyLoss(**weights)


def test_a_term_that_is_not_finite_is_named() -> None:
    log_density, density, fixations = maps()
    _, terms = SaliencyLoss(nss=1.0)(log_density, density, torch.zeros_like(fixations))
    with pytest.raises(FloatingPointError, match="nss"):
        PendingLossTerms.begin_copy(terms, "step 1").require_finite()


@pytest.mark.parametrize("file", PRESETS, ids=lambda f: f.stem)
def test_presets_are_the_published_recipes(file: Path) -> None:
    preset = yaml.safe_load(file.read_text())
    weights = tuple(preset.get(name, 0) for name in ("kl", "cc", "nss", "sim"))
    assert weights == RECIPES[file.stem]


def test_the_terms_of_a_step_are_checked_later_and_say_where_they_were_made() -> None:
    terms = {"kl": torch.tensor(1.0), "nss": torch.tensor(2.0)}
    PendingLossTerms.begin_copy(terms, "epoch 1").require_finite()
    late = PendingLossTerms.begin_copy(terms | {"nss": torch.tensor(torch.inf)}, "epoch 2, step 3")
    with pytest.raises(FloatingPointError, match="the loss term nss is inf at epoch 2, step 3"):
        late.require_finite()
