from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18, vgg11
from torchvision.ops import FrozenBatchNorm2d

from deepsal.rf.claims.controls import (
    control_networks,
    flat_kernel_copy,
    shuffled_copy,
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


CONTROLS = [lambda n: untrained_copy(n, 0), lambda n: shuffled_copy(n, 0), flat_kernel_copy]


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_is_a_new_network_of_the_same_kind(
    control: Callable[[nn.Module], nn.Module],
) -> None:
    network = toy()
    before, random = state(network), torch.get_rng_state()
    other = control(network)
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


@pytest.mark.parametrize("control", [untrained_copy, shuffled_copy])
def test_random_controls_repeat_with_their_seed(
    control: Callable[[nn.Module, int], nn.Module],
) -> None:
    first, second, other = (control(toy(), seed) for seed in (0, 0, 1))
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


def test_shuffled_keeps_the_weights_of_every_kernel_and_no_order() -> None:
    network = toy()
    before, after = state(network), state(shuffled_copy(network, 0))
    for name in ("0.weight", "3.weight"):
        kernels = [w[name].flatten(0, 1).flatten(1) for w in (before, after)]
        assert torch.equal(*[k.sort(1).values for k in kernels])
        assert (kernels[0] != kernels[1]).any(1).all()
    pointwise = [w["4.weight"].flatten(1) for w in (before, after)]
    assert torch.equal(*[p.sort(1).values for p in pointwise])
    assert (pointwise[0] != pointwise[1]).any()
    kept = before.keys() - {"0.weight", "3.weight", "4.weight"}
    assert all(torch.equal(before[name], after[name]) for name in kept)


def test_kernels_are_shuffled_each_in_its_own_order() -> None:
    network = nn.Conv2d(4, 8, 3)
    with torch.no_grad():
        network.weight.copy_(torch.arange(9.0).reshape(3, 3).expand(8, 4, 3, 3))
    weight = state(shuffled_copy(network, 0))["weight"]
    assert len(weight.flatten(0, 1).flatten(1).unique(dim=0)) == 32
    assert weight.mean((0, 1)).std() < 1  # where a weight lands does not depend on its rank


def test_shuffled_leaves_a_depthwise_point_alone() -> None:
    network = nn.Conv2d(4, 4, 1, groups=4)
    assert equal(state(shuffled_copy(network, 0)), state(network))


def test_flat_kernels_keep_a_constant_image_through_any_depth() -> None:
    network = flat_kernel_copy(toy()).eval()
    assert network(torch.full((1, 3, 16, 16), 2.0))[0, :, 6, 6].tolist() == pytest.approx(
        [2.0] * 4, rel=1e-4
    )
    deep = flat_kernel_copy(vgg11(weights=None).features)
    assert deep(torch.full((1, 3, 320, 320), 2.0))[0, :, 5, 5].tolist() == pytest.approx(
        [2.0] * 512, rel=1e-4
    )


def test_flat_kernels_have_the_width_of_their_geometry() -> None:
    vgg19: list[nn.Module] = []
    for convolutions in (2, 2, 4, 4, 4):
        for _ in range(convolutions):
            vgg19 += [nn.Conv2d(3 if not vgg19 else 1, 1, 3, padding=1), nn.ReLU()]
        vgg19 += [nn.AvgPool2d(2)]  # its gradient repeats
    variances = [  # Σ (k² − 1)/12 · stride² of convolutions, (s² − 1)/12 · stride² of poolings
        (8 * convolutions + 3) / 12 * 4**stage for stage, convolutions in enumerate((2, 2, 4, 4, 4))
    ]
    expected = np.sqrt(sum(variances))
    assert expected == pytest.approx(31.43, abs=0.01)
    assert measured(nn.Sequential(*vgg19), 352) == pytest.approx(expected, rel=1e-3)


def measured(network: nn.Module, side: int) -> float:
    """Width of the gradient of the middle unit of an network of flat kernels."""
    image = torch.ones(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    response = flat_kernel_copy(network).double()(image)
    response[0, 0, response.shape[2] // 2, response.shape[3] // 2].backward()
    assert image.grad is not None
    profile = image.grad[0].sum((0, 2)).numpy()
    at = np.arange(side)
    centre = np.average(at, weights=profile)
    return float(np.sqrt(np.average((at - centre) ** 2, weights=profile)))


def test_every_control_in_one_call() -> None:
    network, task = toy(), toy()
    controls = control_networks(network, task, seeds=(3, 5))
    assert [*controls] == [
        *("untrained/3", "untrained/5", "shuffled/3", "shuffled/5", "flat_kernels", "other_task")
    ]
    assert controls["other_task"] is task
    assert equal(state(controls["untrained/5"]), state(untrained_copy(network, 5)))
    assert equal(state(controls["shuffled/3"]), state(shuffled_copy(network, 3)))
    assert equal(state(controls["flat_kernels"]), state(flat_kernel_copy(network)))


def test_a_residual_network_has_all_controls() -> None:
    image = torch.rand(1, 3, 64, 64)
    for control in control_networks(resnet18(weights=None).eval()).values():
        assert control(image).isfinite().all()


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
        (lambda: flat_kernel_copy(FROZEN), r"'1.running_mean'.* cannot be made neutral"),
        (lambda: untrained_copy(NORMED, 0), "parametrizations.weight.original0"),
        (lambda: shuffled_copy(NORMED, 0), "are computed: remove their parametrisation"),
        (lambda: flat_kernel_copy(nn.Linear(2, 2)), "Linear has no nn.Conv2d"),
        (lambda: shuffled_copy(nn.Linear(2, 2), 0), "Linear has no nn.Conv2d"),
        (
            lambda: control_networks(toy(), nn.Conv2d(3, 6, 3)),
            "other_task is not the same architecture",
        ),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
