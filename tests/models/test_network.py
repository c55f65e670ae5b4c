from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from deepsal.models import STAGES, Backbone, MirrorDecoder, ReadoutDecoder, SaliencyNetwork
from deepsal.models.network import DecoderFactory, LogDensityHead

SMALL: DecoderFactory = partial(ReadoutDecoder, width=8)


def toy(decoder: DecoderFactory = SMALL, smooth: float = 0.02) -> SaliencyNetwork:
    torch.manual_seed(0)
    stages = [
        nn.Sequential(nn.Conv2d(3 if i == 0 else 16, 16, 3, 2, 1), nn.LeakyReLU()) for i in range(5)
    ]
    return SaliencyNetwork(Backbone(stages), decoder, smooth=smooth)


def flat(smooth: float = 0.0) -> LogDensityHead:
    """Without its centre bias."""
    finish = LogDensityHead(smooth)
    nn.init.zeros_(finish.weight)
    return finish


def sums_to_one(log_density: Tensor) -> bool:
    sums = log_density.double().exp().sum((1, 2))
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-4)


@pytest.mark.parametrize("decoder", [SMALL, MirrorDecoder], ids=["readout", "mirror"])
@pytest.mark.parametrize("smooth", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("size", [(64, 96), (33, 71), (65, 50)])
def test_the_output_is_a_log_density_of_the_images_size(
    size: tuple[int, int], smooth: float, decoder: DecoderFactory
) -> None:
    log_density = toy(decoder, smooth)(torch.rand(2, 3, *size))
    assert log_density.shape == (2, *size)
    assert sums_to_one(log_density)


@pytest.mark.parametrize("decoder", [SMALL, MirrorDecoder], ids=["readout", "mirror"])
@pytest.mark.parametrize("size", [(120, 160), (7, 9), (1, 1), (64, 96)])
def test_the_output_may_have_another_size(size: tuple[int, int], decoder: DecoderFactory) -> None:
    log_density = toy(decoder)(torch.rand(2, 3, 64, 96), size)
    assert log_density.shape == (2, *size)
    assert sums_to_one(log_density)


@pytest.mark.parametrize("decoder", [SMALL, MirrorDecoder], ids=["readout", "mirror"])
def test_the_output_is_float32_also_under_autocast(decoder: DecoderFactory) -> None:
    network, image = toy(decoder), torch.rand(2, 3, 64, 96)
    with torch.autocast("cpu", torch.bfloat16):
        assert network.decoder(network.backbone(image)).dtype == torch.bfloat16
        log_density = network(image)
    assert log_density.dtype == torch.float32
    assert sums_to_one(log_density)
    assert torch.allclose(log_density, network(image), atol=0.1)


@pytest.mark.parametrize("decoder", [SMALL, MirrorDecoder], ids=["readout", "mirror"])
@pytest.mark.parametrize("smooth", [0.0, 0.05])
def test_gradients_reach_every_parameter(smooth: float, decoder: DecoderFactory) -> None:
    network = toy(decoder, smooth)
    log_density = network(torch.rand(2, 3, 64, 96))
    log_density[:, 10, 70].sum().backward()
    without = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert set(without) <= {"decoder.out.bias"}  # one number for all pixels changes no density


def test_nothing_is_smoothed_at_zero() -> None:
    logits = torch.randn(2, 12, 17)
    assert LogDensityHead(0.0).log_smooth is None
    assert torch.allclose(
        flat()(logits, (12, 17)), logits.flatten(1).log_softmax(1).view(2, 12, 17), atol=1e-5
    )


@pytest.mark.parametrize("smooth", [0.02, 0.05])
def test_smoothing_is_a_gaussian_of_a_fraction_of_the_height(smooth: float) -> None:
    logits = torch.zeros(1, 64, 96)
    logits[0, 30, 50] = 100.0
    smoothed = flat(smooth)(logits, (64, 96))[0].detach().numpy()
    expected = gaussian_filter(logits[0].double().numpy(), smooth * 64, truncate=8)
    assert np.allclose(smoothed - smoothed.min(), expected - expected.min(), atol=1e-3)


def test_a_constant_map_stays_constant_up_to_the_border() -> None:
    log_density = flat(0.1)(torch.full((1, 5, 7), 3.0), (40, 56))
    assert log_density.max() - log_density.min() < 1e-4


def test_the_bias_is_its_formula() -> None:
    finish = LogDensityHead(0.0)
    with torch.no_grad():
        finish.weight.fill_(2.0)
        finish.centre.copy_(torch.tensor([0.25, -0.5]))
        finish.log_spread.copy_(torch.tensor([0.5, 2.0]).log())
    log_density = finish(torch.zeros(1, 8, 12), (8, 12))[0].detach()
    y, x = ((torch.arange(n) + 0.5) * 2 / n - 1 for n in (8, 12))
    bias = -(((y[:, None] - 0.25) / 0.5) ** 2 + ((x + 0.5) / 2) ** 2)
    expected = bias.flatten().log_softmax(0).view(8, 12)
    assert torch.allclose(log_density, expected, atol=1e-5)


def test_an_untrained_bias_prefers_the_centre() -> None:
    log_density = LogDensityHead(0.02)(torch.zeros(1, 5, 7), (33, 55))[0]
    assert int(log_density.argmax()) == 16 * 55 + 27


def test_the_decoder_parameters_are_all_but_the_backbones() -> None:
    network = toy()
    backbone = {id(p) for p in network.backbone.parameters()}
    rest = [id(p) for p in network.decoder_parameters()]
    assert len(rest) == len(set(rest))
    assert set(rest) == {id(p) for p in network.parameters()} - backbone


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
    [
        (ReadoutDecoder, STAGES[1:]),
        (partial(ReadoutDecoder, stages=["conv1", "conv4"]), ("conv1", "conv4")),
        (MirrorDecoder, ("conv5",)),
    ],
    ids=["readout", "two stages", "mirror"],
)
def test_a_decoder_reads_its_stages(decoder: DecoderFactory, used: tuple[str, ...]) -> None:
    torch.manual_seed(1)
    network, maps = decoder(CHANNELS), features((64, 96))
    before = network(maps)
    changed = {
        stage for stage in STAGES if not torch.equal(before, network({**maps, stage: -maps[stage]}))
    }
    assert changed == set(used)


@pytest.mark.parametrize("stages", [[], ["conv6"]])
def test_an_unknown_stage_of_a_decoder_lists_the_choices(stages: list[str]) -> None:
    with pytest.raises(ValueError, match=r"decoder\.stages=.*conv1"):
        ReadoutDecoder(CHANNELS, stages=stages)


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
