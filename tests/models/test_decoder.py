import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from deepsal.models import STAGES, Mirror, Readout

CHANNELS = dict(zip(STAGES, (8, 10, 12, 14, 16), strict=True))
STRIDES = dict(zip(STAGES, (2, 4, 8, 16, 32), strict=True))
ODD = [(64, 96), (65, 97), (33, 71), (127, 50), (40, 33)]


def features(size: tuple[int, int]) -> dict[str, Tensor]:
    """What stages with rounded-up strides give for an image of that size."""
    torch.manual_seed(0)
    return {
        stage: torch.randn(2, CHANNELS[stage], *(-(-side // STRIDES[stage]) for side in size))
        for stage in STAGES
    }


@pytest.mark.parametrize("size", ODD)
def test_the_readout_is_as_large_as_conv3(size: tuple[int, int]) -> None:
    maps = features(size)
    logits = Readout(CHANNELS, STRIDES, width=7)(maps)
    assert logits.shape == (2, *maps["conv3"].shape[-2:])


@pytest.mark.parametrize("size", ODD)
def test_the_mirror_is_as_large_as_conv1(size: tuple[int, int]) -> None:
    maps = features(size)
    assert Mirror(CHANNELS, STRIDES)(maps).shape == (2, *maps["conv1"].shape[-2:])


@pytest.mark.parametrize(
    ("decoder", "used"), [(Readout, STAGES[1:]), (Mirror, ("conv5",))], ids=["readout", "mirror"]
)
def test_a_decoder_reads_the_stages_it_says(
    decoder: type[Readout] | type[Mirror], used: tuple[str, ...]
) -> None:
    torch.manual_seed(1)
    network, maps = decoder(CHANNELS, STRIDES), features((64, 96))
    before = network(maps)
    changed = {
        stage for stage in STAGES if not torch.equal(before, network({**maps, stage: -maps[stage]}))
    }
    assert changed == set(used)


@pytest.mark.parametrize("decoder", [Readout, Mirror])
def test_gradients_reach_every_parameter_of_a_decoder(
    decoder: type[Readout] | type[Mirror],
) -> None:
    torch.manual_seed(0)
    network = decoder(CHANNELS, STRIDES)
    network(features((64, 96))).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_the_readout_averages_finer_stages_and_stretches_coarser_ones() -> None:
    maps = features((64, 96))
    decoder = Readout(dict.fromkeys(STAGES, 1), STRIDES, width=1)
    for layer in decoder.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    one = {stage: x[:, :1].abs() for stage, x in maps.items()}
    grid = (8, 12)
    coarse = [interpolate(one[stage], grid, mode="bilinear") for stage in ("conv4", "conv5")]
    expected = adaptive_avg_pool2d(one["conv2"], grid) + one["conv3"] + coarse[0] + coarse[1]
    assert torch.allclose(decoder(one), expected[:, 0], atol=1e-6)


def test_the_mirror_retraces_the_channels_of_the_encoder() -> None:
    decoder = Mirror(CHANNELS, STRIDES)
    steps = [(layer.in_channels, layer.out_channels) for layer in decoder.up.values()]
    assert steps == [(16, 14), (14, 12), (12, 10), (10, 8)]


@pytest.mark.parametrize("decoder", [Readout, Mirror])
def test_a_decoder_carries_its_name(decoder: type[Readout] | type[Mirror]) -> None:
    assert decoder(CHANNELS, STRIDES, name="mine").name == "mine"
