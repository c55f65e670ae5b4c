import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.geometry import FieldGeometry
from deepsal.rf.mapping.field_sampling import field_sampling
from deepsal.rf.mapping.reverse_correlation import reverse_correlation
from tests.rf.mapping.support import SIDE, assert_agrees, linear, smooth_kernels


@pytest.mark.parametrize("positions", ["inside", "all"])
@pytest.mark.parametrize("side", [13, 61])
def test_fields_cut_by_the_image_equal_the_kernel_where_it_is_seen(
    positions: str, side: int
) -> None:
    kernel = smooth_kernels(side, 3)
    found = reverse_correlation(
        linear(kernel, 2), ["0"], (SIDE, SIDE), amplitude=0.05, pairs=192, target=0.9999,
        cells={"0": [1]}, positions=positions, window=32,
    )["0"]  # fmt: skip
    assert found.whole == (side == 13 and positions == "inside")
    assert found.positions == {("inside", 13): 18**2, ("inside", 61): 12**2}.get(
        (positions, side), 24**2
    )
    start = found.origin[0] + side // 2
    end = start + found.field.shape[2]
    assert end - start == (13 if side == 13 else 32)
    assert_agrees(found, kernel.numpy()[..., start:end, start:end])


def test_a_layer_with_global_context_is_measured_at_the_middle_half() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x.mean((2, 3), keepdim=True))

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1), Gate())
    found = reverse_correlation(network, ["1"], (64, 64), pairs=64, cells={"1": [2]})["1"]
    assert found.geometry.size is None
    assert not found.whole
    assert found.positions == 16**2
    assert found.field.shape == (4, 3, 16, 16)


def test_a_sample_that_no_position_sees_is_zero() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 8, 8), nn.AdaptiveAvgPool2d((1, 1)))
    known = {"1": FieldGeometry((64, 64), (64, 64), (40, 40))}
    found = reverse_correlation(network, ["1"], (64, 64), pairs=64, window=64, known=known)["1"]
    assert found.positions == 1
    assert not found.field[:, :, 0].any()
    assert found.field[:, :, -1, -1].all()


def test_positions_and_samples_of_a_layer() -> None:
    at = field_sampling(
        FieldGeometry((67, 67), (8, 8), (26, 26)), (192, 256), (24, 32), 4, None, "inside"
    )
    assert at.whole
    assert (at.rows.first, at.rows.count) == (4, 15)  # 4·8 − 26 = 6 … 18·8 − 26 + 67 = 185
    assert (at.rows.step, at.rows.samples, at.rows.origin) == (2, 34, -26)
    assert at.positions == 15 * 23
    assert (at.seen() == at.positions).all()
    cut = field_sampling(
        FieldGeometry((339, 339), (16, 16), (154, 154)), (192, 256), (12, 16), 8, None, "inside"
    )
    assert not cut.whole
    assert (cut.rows.first, cut.rows.count, cut.columns.first, cut.columns.count) == (3, 6, 4, 8)
    assert (cut.rows.step, cut.rows.samples) == (4, 32)
    every = field_sampling(FieldGeometry((3, 3), (2, 2), (1, 1)), (8, 8), (4, 4), 1, None, "all")
    assert every.rows.seen.tolist() == [3, 4, 4]
