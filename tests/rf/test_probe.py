import pytest
import torch
from torch import Tensor, nn

from deepsal.rf.probe import Probe, Question, Selector
from tests.conftest import backbone


def test_units_are_read_before_their_rectifier() -> None:
    network, image = backbone().eval(), torch.rand(2, 3, 64, 64)
    probe = Probe(network, "conv2", image[:1])
    with torch.no_grad():
        before, after = probe.activation(image), probe(image)
    assert probe.channels == 6
    assert (before < 0).any()
    assert torch.equal(before.relu(), after)


@pytest.mark.parametrize("interleaved", [False, True])
def test_every_sample_of_a_repeated_batch_keeps_its_unit(interleaved: bool) -> None:
    question = Question(
        torch.zeros(2, 3, 4, 4), torch.tensor([1, 0]), torch.tensor([[0, 1], [1, 0]])
    )
    output = torch.arange(2.0 * 2 * 2 * 2).view(2, 2, 2, 2)
    repeated = output.repeat_interleave(3, 0) if interleaved else output.repeat(3, 1, 1, 1)
    once = torch.stack([output[0, 1, 0, 1], output[1, 0, 1, 0]])
    expected = once.repeat_interleave(3) if interleaved else once.repeat(3)
    assert torch.equal(Selector(question, interleaved)(repeated), expected)


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.flatten(image))


def test_a_layer_without_maps_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"flatten gives 2 axes"):
        Probe(Flat(), "flatten", torch.rand(1, 3, 8, 8))
