import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.mapping.readout import FieldRequest, UnitReadout, UnitSelector
from tests.conftest import NoTrace, backbone


def test_units_are_read_before_their_rectifier() -> None:
    network, image = backbone().eval(), torch.rand(2, 3, 64, 64)
    readout = UnitReadout(network, "conv2", image[:1])
    with torch.no_grad():
        before, after = readout.activation(image), readout(image)
    assert readout.channels == 6
    assert (before < 0).any()
    assert torch.equal(before.relu(), after)


@pytest.mark.parametrize("interleaved", [False, True])
def test_every_sample_of_a_repeated_batch_keeps_its_unit(interleaved: bool) -> None:
    request = FieldRequest(
        torch.zeros(2, 3, 4, 4), torch.tensor([1, 0]), torch.tensor([[0, 1], [1, 0]])
    )
    output = torch.arange(2.0 * 2 * 2 * 2).view(2, 2, 2, 2)
    repeated = output.repeat_interleave(3, 0) if interleaved else output.repeat(3, 1, 1, 1)
    once = torch.stack([output[0, 1, 0, 1], output[1, 0, 1, 0]])
    expected = once.repeat_interleave(3) if interleaved else once.repeat(3)
    assert torch.equal(UnitSelector(request, interleaved)(repeated), expected)


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.flatten(image))


def test_a_layer_without_maps_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"flatten gives 2 axes"):
        UnitReadout(Flat(), "flatten", torch.rand(1, 3, 8, 8))


def test_each_distinct_crop_is_yielded_once_with_its_units() -> None:
    units, where = torch.tensor([4, 5, 6]), torch.tensor([[0, 1], [2, 3], [4, 5]])
    crops = torch.rand(3, 3, 4, 4)
    apart = FieldRequest(crops, units, where)
    assert not apart.shares_one_crop()
    assert [(c.shape, u.tolist(), w.tolist()) for c, u, w in apart.distinct_crops()] == [
        ((1, 3, 4, 4), [4], [[0, 1]]),
        ((1, 3, 4, 4), [5], [[2, 3]]),
        ((1, 3, 4, 4), [6], [[4, 5]]),
    ]
    shared = FieldRequest(crops[:1].expand(3, -1, -1, -1), units, where)
    assert shared.shares_one_crop()
    [(crop, asked, places)] = shared.distinct_crops()
    assert torch.equal(crop, crops[:1])
    assert torch.equal(asked, units)
    assert torch.equal(places, where)
    assert torch.allclose(apart.mean_colour(), crops.mean((2, 3), keepdim=True))


def test_a_selector_keeps_what_it_chose_without_its_graph() -> None:
    request = FieldRequest(torch.zeros(1, 3, 4, 4), torch.tensor([1]), torch.tensor([[0, 1]]))
    select = UnitSelector(request)
    output = torch.rand(1, 2, 2, 2, requires_grad=True)
    assert select(output).requires_grad
    assert select.activation.tolist() == [output[0, 1, 0, 1].item()]
    assert not select.activation.requires_grad


def test_a_layer_without_a_rectifier_is_read_as_it_is(leaves_no_trace: NoTrace) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1)).eval()
    image = torch.rand(1, 3, 8, 8)
    with leaves_no_trace(network), torch.no_grad():
        linear, rectified = UnitReadout(network, "2", image), UnitReadout(network, "1", image)
        assert linear.rectifier is None
        assert rectified.rectifier is network[1]
        assert torch.equal(linear.activation(image), network(image))
        assert torch.equal(rectified.activation(image), network[0](image))


def test_a_rectifier_in_place_does_not_spoil_what_is_read() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)).eval()
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert (UnitReadout(network, "1", image).activation(image) < 0).any()


def test_an_image_that_noise_promoted_is_read_in_the_networks_precision() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval().bfloat16()
    image = torch.rand(1, 3, 8, 8)
    readout = UnitReadout(network, "1", image.bfloat16())
    with torch.no_grad():
        assert torch.equal(readout(image), network(image.bfloat16()))
        assert readout.activation(image).dtype == torch.bfloat16
