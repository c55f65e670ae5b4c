import resource

import pytest
import torch
from torch import Tensor

from deepsal.metrics import functional as f
from deepsal.metrics import optimal_maps
from deepsal.metrics.optimal_maps import optimal_map

SIZE, SIGMA = (48, 64), 4.0


def densities() -> tuple[Tensor, Tensor]:
    """A density with two peaks, and a baseline in the middle."""
    y, x = (torch.arange(n, dtype=torch.float64) for n in SIZE)
    peaks = [
        torch.exp(-((y[:, None] - b).square() + (x - a).square()) / (2 * s * s))
        for a, b, s in ((15, 12, 2), (45, 30, 3), (32, 24, 14))
    ]
    p = (peaks[0] + peaks[1] + 0.02 * peaks[2] + 1e-4)[None]
    b = (peaks[2] + 1e-3)[None]
    return (p / p.sum()).log(), (b / b.sum()).log()


def drawn(log_density: Tensor, images: int = 60, fixations: int = 100) -> tuple[Tensor, Tensor]:
    """Counts of fixations drawn from a density, and the truths blurred from them."""
    generator = torch.Generator().manual_seed(3)
    p = log_density.exp().flatten().expand(images, -1)
    at = torch.multinomial(p, fixations, replacement=True, generator=generator)
    counts = torch.zeros_like(p).scatter_add_(1, at, torch.ones_like(at, dtype=p.dtype))
    counts = counts.view(images, *SIZE)
    blurred = optimal_map("cc", counts.clamp_min(1e-9).log(), SIGMA).exp()
    return counts, blurred / blurred.sum((1, 2), keepdim=True)


@pytest.mark.parametrize("score", ["cc", "kl", "sim", "sauc"])
def test_the_optimal_map_scores_better_than_the_density_on_its_own_fixations(score: str) -> None:
    p, baseline = densities()
    counts, truths = drawn(p)
    others = drawn(baseline)[0].sum(0, keepdim=True).expand_as(counts)
    best = optimal_map(score, p, SIGMA, baseline)
    truth = (counts, others) if score == "sauc" else (truths,)
    optimal, plain = (
        getattr(f, score)(m.expand_as(counts), *truth).mean().item() for m in (best, p)
    )
    assert optimal < plain - 0.01 if score == "kl" else optimal > plain + 0.001


def test_the_numeric_map_for_sim_beats_the_blurred_density() -> None:
    p, _ = densities()
    counts, truths = drawn(p)
    sim, blurred = (optimal_map(score, p, SIGMA).expand_as(counts) for score in ("sim", "cc"))
    assert f.sim(sim, truths).mean() > f.sim(blurred, truths).mean()


def test_every_map_is_a_density() -> None:
    p, baseline = densities()
    for score in ("nss", "ig", "auc", "sauc", "cc", "kl", "sim"):
        total = optimal_map(score, p, SIGMA, baseline).exp().sum().item()
        assert total == pytest.approx(1, abs=1e-9)


def test_the_map_for_auc_has_a_flat_histogram_and_keeps_ties() -> None:
    values = torch.tensor([[[0.1, 0.1], [0.3, 0.5]]], dtype=torch.float64)
    ranks = optimal_map("auc", values.log(), SIGMA).exp()
    assert (ranks / ranks[0, 0, 0] * 1.5).flatten().tolist() == pytest.approx([1.5, 1.5, 3, 4])
    assert f.auc(
        optimal_map("auc", densities()[0], SIGMA), drawn(densities()[0])[0][:1]
    ).item() == (pytest.approx(f.auc(densities()[0], drawn(densities()[0])[0][:1]).item()))


def test_bad_input_is_named() -> None:
    p, _ = densities()
    with pytest.raises(ValueError, match="bleu"):
        optimal_map("bleu", p, SIGMA)
    with pytest.raises(ValueError, match="baseline"):
        optimal_map("sauc", p, SIGMA)


def test_the_map_for_sim_is_the_same_in_bands_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    p, _ = densities()
    whole = optimal_map("sim", p, SIGMA)
    monkeypatch.setattr(optimal_maps, "PIXELS_PER_BAND", 5 * optimal_maps.TRUTH_SAMPLES * SIZE[1])
    assert torch.allclose(optimal_map("sim", p, SIGMA), whole, atol=1e-9)


@pytest.mark.slow
def test_the_map_for_sim_of_a_large_image_takes_little_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = torch.rand(1, 1080, 1920, generator=torch.Generator().manual_seed(0))
    density = values.flatten(1).log_softmax(1).view_as(values)
    assert optimal_map("sim", density, 7.0).exp().sum().item() == pytest.approx(1, abs=1e-4)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3 << 20  # KiB
