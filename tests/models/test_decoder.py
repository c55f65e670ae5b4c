import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from deepsal.models import STAGES, MirrorDecoder, ReadoutDecoder

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
    logits = ReadoutDecoder(CHANNELS, width=7)(maps)
    assert logits.shape == (2, *maps["conv3"].shape[-2:])


@pytest.mark.parametrize("size", ODD)
def test_the_mirror_is_as_large_as_conv1(size: tuple[int, int]) -> None:
    maps = features(size)
    assert MirrorDecoder(CHANNELS)(maps).shape == (2, *maps["conv1"].shape[-2:])


@pytest.mark.parametrize(
    ("decoder", "used"),
    [(ReadoutDecoder, STAGES[1:]), (MirrorDecoder, ("conv5",))],
    ids=["readout", "mirror"],
)
def test_a_decoder_reads_its_stages(
    decoder: type[ReadoutDecoder] | type[MirrorDecoder], used: tuple[str, ...]
) -> None:
    torch.manual_seed(1)
    network, maps = decoder(CHANNELS), features((64, 96))
    before = network(maps)
    changed = {
        stage for stage in STAGES if not torch.equal(before, network({**maps, stage: -maps[stage]}))
    }
    assert changed == set(used)


@pytest.mark.parametrize("decoder", [ReadoutDecoder, MirrorDecoder])
def test_gradients_reach_every_parameter_of_a_decoder(
    decoder: type[ReadoutDecoder] | type[MirrorDecoder],
) -> None:
    torch.manual_seed(0)
    network = decoder(CHANNELS)
    network(features((64, 96))).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def passing(decoder: nn.Module) -> nn.Module:
    """With convolutions that pass their first channel on unchanged."""
    for name, p in decoder.named_parameters():
        nn.init.zeros_(p) if name.endswith("bias") else nn.init.dirac_(p)
    return decoder


def test_the_readout_averages_finer_stages_and_stretches_coarser_ones() -> None:
    maps = {stage: x[:, :1].abs() for stage, x in features((65, 97)).items()}
    decoder = passing(ReadoutDecoder(dict.fromkeys(STAGES, 1), width=1))
    grid = (9, 13)
    coarse = [interpolate(maps[stage], grid, mode="bilinear") for stage in ("conv4", "conv5")]
    expected = adaptive_avg_pool2d(maps["conv2"], grid) + maps["conv3"] + coarse[0] + coarse[1]
    assert torch.allclose(decoder(maps), expected[:, 0], atol=1e-6)


def test_the_mirror_repeats_what_comes_from_below() -> None:
    maps = {stage: x[:, :1].abs() for stage, x in features((64, 96)).items()}
    decoder = passing(MirrorDecoder(dict.fromkeys(STAGES, 1)))
    expected = maps["conv5"].repeat_interleave(16, 2).repeat_interleave(16, 3)
    assert torch.equal(decoder(maps), expected[:, 0])


def test_the_mirror_retraces_the_channels_of_the_encoder() -> None:
    decoder = MirrorDecoder(CHANNELS)
    kernels = [tuple(p.shape) for p in decoder.up.parameters() if p.ndim == 4]
    assert kernels == [(14, 16, 3, 3), (12, 14, 3, 3), (10, 12, 3, 3), (8, 10, 3, 3)]
