from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from deepsal.rf.claims.controls import (
    BUILT_IN_CONTROLS,
    built_in_control,
    displaced_copy,
    reestimate_statistics,
    untrained_copy,
)


def toy() -> nn.Sequential:
    """Every parameter and buffer away from where it started, as if trained."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.PReLU(),
        nn.Conv2d(6, 6, 5, groups=3, bias=False),
        nn.Conv2d(6, 4, 1),
    )
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(0.1 + torch.rand(tensor.shape, generator=random))
            else:
                tensor.fill_(9)
    network[1].eval()
    network[0].weight.requires_grad_(False)
    return network


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_a_control_is_a_new_network_of_the_same_kind() -> None:
    network = toy()
    before, random = state(network), torch.get_rng_state()
    other = untrained_copy(network, 0)
    assert equal(state(network), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert not equal(state(other), before)
    assert [m.training for m in other.modules()] == [m.training for m in network.modules()]
    flags = [[p.requires_grad for p in n.parameters()] for n in (network, other)]
    assert flags[0] == flags[1]
    assert not {p.data_ptr() for p in other.parameters()} & {
        p.data_ptr() for p in network.parameters()
    }
    assert other(torch.rand(1, 3, 16, 16)).isfinite().all()


def test_random_weights_repeat_with_their_seed() -> None:
    first, second, other = (untrained_copy(toy(), seed) for seed in (0, 0, 1))
    assert equal(state(first), state(second))
    for index in (0, 3, 4):
        weights = [state(n)[f"{index}.weight"] for n in (first, other)]
        assert not torch.equal(*weights)


def test_untrained_forgets_every_weight_and_statistic() -> None:
    trained = toy()
    fresh = state(untrained_copy(trained, 0))
    for name, tensor in state(trained).items():
        assert not (fresh[name] == tensor).any(), name
    assert fresh["1.weight"].tolist() == fresh["1.running_var"].tolist() == [1.0] * 6
    assert not fresh["1.running_mean"].any()
    assert fresh["1.num_batches_tracked"] == 0


def test_untrained_draws_as_torch_does() -> None:
    weight = state(untrained_copy(nn.Conv2d(64, 64, 3), 0))["weight"]
    bound = 1 / np.sqrt(64 * 9)  # uniform, Kaiming with a = √5
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert weight.std().item() == pytest.approx(bound / np.sqrt(3), rel=1e-2)


def test_a_container_resets_after_its_parts() -> None:
    class Flat(nn.Sequential):
        def reset_parameters(self) -> None:
            nn.init.constant_(self[0].weight, 3)  # type: ignore[arg-type]

    weight = state(untrained_copy(Flat(nn.Conv2d(3, 2, 3)), 0))["0.weight"]
    assert weight.unique().tolist() == [3]


def tuned(network: nn.Module) -> nn.Module:
    """Return a copy with other weights in its first layer, and other statistics."""
    after = deepcopy(network)
    with torch.no_grad():
        after[0].weight.add_(1)  # type: ignore[index]
        after[1].running_mean.add_(3)  # type: ignore[index]
    return after


IMAGES = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def test_statistics_are_those_of_the_images_and_nothing_else_moves() -> None:
    network = toy().eval()
    before = state(network)
    reestimate_statistics(network, IMAGES)
    seen = network[0](IMAGES).transpose(0, 1).flatten(1)
    after = state(network)
    assert torch.allclose(after["1.running_mean"], seen.mean(1), atol=1e-2)
    assert torch.allclose(after["1.running_var"], seen.var(1), rtol=0.1)
    kept = [name for name in before if not name.startswith("1.") or "running" not in name]
    kept.remove("1.num_batches_tracked")
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert not any(module.training for module in network.modules())
    assert network[1].momentum == 0.1
    reestimate_statistics(nn.Conv2d(3, 2, 3), IMAGES)  # without batch norm there is none to feed


def test_only_named_statistics_are_estimated() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)).eval()
    reestimate_statistics(network, IMAGES, ["2"])
    after = state(network)
    assert after["1.running_mean"].tolist() == [0.0] * 4
    assert not torch.equal(after["2.running_var"], torch.ones(4))


def test_displaced_moves_each_tensor_as_far_as_tuning_did() -> None:
    network = toy()
    after = tuned(network)
    moved = displaced_copy(network, after, 0)
    for name, start in network.named_parameters():
        far = [(dict(n.named_parameters())[name] - start).norm().item() for n in (after, moved)]
        assert far[0] == pytest.approx(far[1], rel=1e-4)
    assert not torch.equal(moved[0].weight, after[0].weight)  # type: ignore[index]
    assert equal(state(displaced_copy(network, after, 0)), state(moved))
    assert not equal(state(displaced_copy(network, after, 1)), state(moved))


@pytest.mark.parametrize("kind", [*BUILT_IN_CONTROLS])
def test_every_control_is_alive_and_leaves_the_networks(kind: str) -> None:
    network = toy()
    after = tuned(network)
    before, ended = state(network), state(after)
    control = built_in_control(kind, network, after, IMAGES, 0)
    assert control is not None
    assert equal(state(network), before)
    assert equal(state(after), ended)
    assert not any(module.training for module in control.modules())
    assert control(IMAGES).std(0).median() > 1e-3


def test_controls_get_weights_and_statistics_from_where_their_names_say() -> None:
    network = toy()
    after = tuned(network)

    def parts(kind: str) -> tuple[Tensor, Tensor]:
        control = built_in_control(kind, network, after, IMAGES, 0)
        assert control is not None
        return state(control)["0.weight"], state(control)["1.running_mean"]

    start, end = state(network), state(after)
    assert torch.equal(parts("bn_only")[0], start["0.weight"])
    assert torch.equal(parts("weights_only")[0], end["0.weight"])
    assert torch.equal(parts("weights_only")[1], start["1.running_mean"])
    assert torch.equal(parts("weights_reestimated")[0], end["0.weight"])
    for kind in ("bn_only", "weights_reestimated", "displaced"):
        for other in (start, end):
            assert not torch.allclose(parts(kind)[1], other["1.running_mean"])


def test_a_control_that_would_equal_a_network_is_left_out() -> None:
    network = toy()
    for kind in ("bn_only", "weights_only", "weights_reestimated", "displaced"):
        assert built_in_control(kind, network, deepcopy(network), IMAGES, 0) is None
    assert built_in_control("untrained", network, network, IMAGES, 0) is not None


def test_a_residual_network_has_all_controls() -> None:
    network = resnet18(weights=None).eval()
    after = deepcopy(network)
    with torch.no_grad():
        for tensor in after.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1.1)
    for kind in BUILT_IN_CONTROLS:
        control = built_in_control(kind, network, after, torch.rand(4, 3, 64, 64), 0)
        assert control is not None
        assert control(torch.rand(1, 3, 64, 64)).isfinite().all()


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 3)
        self.gamma = nn.Parameter(torch.ones(1))


FROZEN = nn.Sequential(nn.Conv2d(3, 2, 3), FrozenBatchNorm2d(2))
NORMED = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: untrained_copy(Scaled(), 0), r"reaches \['gamma'\]: they would stay trained"),
        (lambda: untrained_copy(FROZEN, 0), r"reaches \['1.running_mean'\]"),
        (lambda: untrained_copy(NORMED, 0), "parametrizations.weight.original0"),
        (
            lambda: built_in_control("shuffled", toy(), toy(), IMAGES, 0),
            r"claims.built_in: no control 'shuffled'; the choices are \['untrained', 'bn_only'",
        ),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
