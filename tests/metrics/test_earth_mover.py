import sys

import pytest
import torch
from scipy.stats import wasserstein_distance

from deepsal.metrics.earth_mover import sum_cells, transport_distance


def test_on_a_line_it_is_the_area_between_the_cumulative_distributions() -> None:
    torch.manual_seed(0)
    one, other = torch.rand(2, 1, 10, dtype=torch.float64)
    wide = (x.repeat_interleave(32, dim=1) for x in (one, other))
    expected = wasserstein_distance(range(10), range(10), one[0].numpy(), other[0].numpy())
    assert transport_distance(*wide).item() == pytest.approx(expected)


def test_it_is_symmetric_and_ignores_the_scale() -> None:
    torch.manual_seed(1)
    one, other = torch.rand(2, 150, 200, dtype=torch.float64)
    value = transport_distance(one, other).item()
    assert value > 0
    assert transport_distance(7 * other, one).item() == pytest.approx(value)


def test_cells_keep_the_mass_of_incomplete_ones() -> None:
    values = torch.rand(70, 100, dtype=torch.float64)
    assert sum_cells(values).shape == (3, 4)
    assert sum_cells(values).sum().item() == pytest.approx(values.sum().item())
    assert sum_cells(values)[2, 3].item() == pytest.approx(values[64:, 96:].sum().item())


def test_without_its_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"deepsal\[emd\]"):
        transport_distance(torch.ones(4, 4), torch.ones(4, 4))
