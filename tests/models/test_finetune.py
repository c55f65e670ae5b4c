import pytest
import torch
from torch import nn

from deepsal.models import STAGES, Backbone, FinetuneDepth, ReadoutDecoder, SaliencyNetwork
from deepsal.vocabulary import DEPTHS

LEARNING = {
    "none": (),
    "conv5": ("conv5",),
    "conv4": ("conv4", "conv5"),
    "conv3": ("conv3", "conv4", "conv5"),
    "conv2": ("conv2", "conv3", "conv4", "conv5"),
    "all": ("conv1", "conv2", "conv3", "conv4", "conv5"),
}


def toy() -> SaliencyNetwork:
    torch.manual_seed(0)
    stages = [
        nn.Sequential(nn.Conv2d(3 if i == 0 else 4, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        for i in range(5)
    ]
    return SaliencyNetwork(Backbone(stages), ReadoutDecoder)


def learns(network: SaliencyNetwork) -> dict[str, set[bool]]:
    """Whether the parameters of each stage take gradients, and whether its buffers move."""
    return {
        stage: {p.requires_grad for p in module.parameters()}
        | {m.training for m in module.modules()}
        for stage, module in network.backbone.stages()
    }


def test_every_depth_is_tested() -> None:
    assert set(LEARNING) == set(DEPTHS)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_depth_freezes_exactly_the_stages_below_it(depth: str) -> None:
    network = toy()
    finetune = FinetuneDepth(depth)
    finetune.freeze(network)
    assert finetune.learning_stages == LEARNING[depth]
    assert network.backbone.frozen_stages == set(STAGES) - set(LEARNING[depth])
    assert learns(network) == {stage: {stage in LEARNING[depth]} for stage in STAGES}
    assert all(p.requires_grad for p in network.decoder_parameters())


@pytest.mark.parametrize("depth", DEPTHS)
def test_frozen_stages_stay_frozen_when_training_resumes(depth: str) -> None:
    network = toy()
    FinetuneDepth(depth).freeze(network)
    network.eval()
    network.train()
    assert learns(network) == {stage: {stage in LEARNING[depth]} for stage in STAGES}


def test_freezing_wakes_no_network_from_eval_mode() -> None:
    network = toy().eval()
    FinetuneDepth("all").freeze(network)
    assert not any(module.training for module in network.modules())


def test_a_later_depth_replaces_an_earlier_one() -> None:
    network = toy()
    for depth in ("none", "all", "conv4"):
        FinetuneDepth(depth).freeze(network)
        assert learns(network) == {stage: {stage in LEARNING[depth]} for stage in STAGES}


@pytest.mark.parametrize("depth", DEPTHS)
def test_groups_hold_every_learnable_parameter_once(depth: str) -> None:
    network = toy()
    finetune = FinetuneDepth(depth)
    finetune.freeze(network)
    groups = finetune.parameter_groups(network, 1e-3)
    assert [group["name"] for group in groups] == [*LEARNING[depth], "decoder"]
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in network.parameters() if p.requires_grad}
    torch.optim.AdamW(groups)


def test_the_decoder_learns_at_the_rate_and_the_stages_at_a_fraction_of_it() -> None:
    rates = {g["name"]: g["lr"] for g in FinetuneDepth("conv4", 0.25).parameter_groups(toy(), 0.04)}
    assert rates == {"conv4": 0.01, "conv5": 0.01, "decoder": 0.04}


def test_every_stage_may_have_its_own_rate() -> None:
    scales = dict(zip(STAGES, (0.5, 0.25, 0.125, 2.0, 4.0), strict=True))
    groups = FinetuneDepth("all", scales).parameter_groups(toy(), 1.0)
    assert {g["name"]: g["lr"] for g in groups} == {**scales, "decoder": 1.0}


@pytest.mark.parametrize("depth", DEPTHS)
def test_one_step_moves_the_learning_stages_and_nothing_else(depth: str) -> None:
    network = toy()
    finetune = FinetuneDepth(depth)
    finetune.freeze(network)
    before = {key: value.clone() for key, value in network.backbone.state_dict().items()}
    optimiser = torch.optim.AdamW(finetune.parameter_groups(network, 0.1), weight_decay=0.5)
    log_density = network.train()(torch.rand(4, 3, 64, 64))
    (-log_density[:, 5, 5].sum()).backward()
    optimiser.step()
    after = network.backbone.state_dict()
    moved = {key[:5] for key in before if not torch.equal(before[key], after[key])}
    assert moved - {"mean", "std"} == set(LEARNING[depth])


@pytest.mark.parametrize("depth", ["conv1", "conv6", "decoder", ""])
def test_an_unknown_depth_lists_the_choices(depth: str) -> None:
    with pytest.raises(ValueError, match=rf"no depth '{depth}'.*'none'.*'conv5'.*'all'"):
        FinetuneDepth(depth)


def test_an_unknown_stage_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"lr_scale names \['conv9'\].*'conv1'.*'conv5'"):
        FinetuneDepth("all", {"conv5": 1.0, "conv9": 0.1})


def test_a_stage_without_a_rate_of_its_own_has_the_default() -> None:
    groups = FinetuneDepth("conv4", {"conv5": 0.5}).parameter_groups(toy(), 1.0)
    assert {g["name"]: g["lr"] for g in groups} == {"conv4": 0.1, "conv5": 0.5, "decoder": 1.0}


def test_norm_only_moves_the_normalisation_layers_of_the_learning_stages_and_nothing_else() -> None:
    network = toy()
    finetune = FinetuneDepth("conv4", norm_only=True)
    finetune.freeze(network)
    before = {key: value.clone() for key, value in network.backbone.state_dict().items()}
    optimiser = torch.optim.AdamW(finetune.parameter_groups(network, 0.1), weight_decay=0.5)
    log_density = network.train()(torch.rand(4, 3, 64, 64))
    (-log_density[:, 5, 5].sum()).backward()
    optimiser.step()
    after = network.backbone.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert moved == {f"{stage}.1.{name}" for stage in ("conv4", "conv5") for name in norm}


def test_a_depth_replaces_norm_only() -> None:
    network = toy()
    FinetuneDepth("all", norm_only=True).freeze(network)
    FinetuneDepth("all").freeze(network)
    assert learns(network) == {stage: {True} for stage in STAGES}


@pytest.mark.parametrize("depth", ["none", "all"])
def test_norm_only_without_a_layer_that_learns_is_an_error(depth: str) -> None:
    stages = [nn.Conv2d(3 if i == 0 else 4, 4, 3, 2, 1) for i in range(5)]
    network = SaliencyNetwork(Backbone(stages, name="plain"), ReadoutDecoder)
    with pytest.raises(ValueError, match=f"plain learns with finetune={depth}.*norm_only=false"):
        FinetuneDepth(depth, norm_only=True).freeze(network)
