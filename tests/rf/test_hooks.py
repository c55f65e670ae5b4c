import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18, vgg11

from deepsal.rf.geometry import measure_geometry
from deepsal.rf.hooks import (
    find_final_rectifier,
    find_layer,
    forward_until,
    temporary_eval_mode,
    unit_numbers,
    unsupported_nonlinearities,
)
from deepsal.rf.mapping.gradient_fields import map_receptive_fields
from tests.conftest import NoTrace, backbone


def test_a_wrong_name_lists_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"conv9.*Backbone has.*conv5"):
        find_layer(backbone(), "conv9.0")


@pytest.mark.parametrize("units", [0, [], [4], [-1]])
def test_units_that_a_stage_lacks_are_refused_by_the_options_name(units: int | list[int]) -> None:
    assert unit_numbers([3, 1], {"conv1": 4}, "rf.units") == {"conv1": [3, 1]}
    with pytest.raises(ValueError, match=r"rf\.units=.*: conv1 has units 0 … 3"):
        unit_numbers(units, {"conv1": 4}, "rf.units")


def disturb(network: nn.Module) -> None:
    with torch.no_grad(), temporary_eval_mode(network):
        assert not any(m.training for m in network.modules())
        assert torch.is_grad_enabled()
        assert not any(p.requires_grad for p in network.parameters())
        torch.rand(5), np.random.rand(5), random.random()
        raise RuntimeError("on purpose")


def test_nothing_is_left_behind_even_by_an_exception(leaves_no_trace: NoTrace) -> None:
    network = backbone().train()
    network.get_submodule("conv2").eval()
    network.conv3.requires_grad_(False)
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    with leaves_no_trace(network), pytest.raises(RuntimeError, match="on purpose"):
        disturb(network)
    assert expected == (torch.rand(1).item(), np.random.rand(), random.random())


def test_gradients_flow_inside_inference_mode() -> None:
    network = backbone()
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode(), temporary_eval_mode(network):
        copy = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(copy)["conv2"].sum(), copy)
    assert gradient.abs().sum() > 0


def test_the_forward_pass_stops_at_the_layer_and_leaves_no_hook(leaves_no_trace: NoTrace) -> None:
    network = backbone().eval()
    network.conv3 = nn.Identity()
    network.conv4 = nn.Linear(1, 1)  # would fail if it were reached
    image = torch.rand(2, 3, 32, 32)
    first, second = network.get_submodule("conv1"), network.get_submodule("conv2")
    with leaves_no_trace(network):
        output = forward_until(network, second)(image)
    assert torch.equal(output, second(first((image - network.mean) / network.std)))


def test_a_layer_off_the_path_is_an_error() -> None:
    network = nn.ModuleDict({"used": nn.Conv2d(3, 4, 1), "idle": nn.Conv2d(3, 4, 1)})
    network.forward = network["used"].forward
    with pytest.raises(ValueError, match="does not run through"):
        forward_until(network, network["idle"])(torch.rand(1, 3, 8, 8))


def test_the_last_rectifier_is_found_where_one_module_is_used_thrice() -> None:
    image = torch.rand(1, 3, 64, 64)
    residual = resnet18(weights=None).eval()
    assert find_final_rectifier(residual, residual.layer4, image)[0] is residual.layer4[1].relu
    plain = vgg11(weights=None).eval()
    assert (
        find_final_rectifier(plain, plain.features[1], image[:, :, :32, :32])[0]
        is plain.features[1]
    )
    assert find_final_rectifier(plain, plain.features[0], image)[0] is None


def compiled(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


def wrapped(module: nn.Module) -> nn.Module:
    wrapped = torch.compile(module, backend="eager")
    assert isinstance(wrapped, nn.Module)
    return wrapped


@pytest.mark.parametrize("compile_", [compiled, wrapped], ids=["method", "function"])
def test_a_compiled_network_or_stage_is_refused(
    compile_: Callable[[nn.Module], nn.Module],
) -> None:
    images, patches = torch.rand(1, 3, 64, 64), np.array([[[0, 0, 0]]])
    inner = backbone()
    inner.conv3 = compile_(inner.get_submodule("conv3"))
    for network in (compile_(backbone()), inner):
        for geometry in (None, measure_geometry(backbone(), "conv3")):
            with pytest.raises(ValueError, match="is compiled"):
                map_receptive_fields(network, "conv3", images, patches, [0], geometry)


def functional(image: Tensor) -> Tensor:
    return nn.functional.relu(image)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hardtanh": nn.ReLU6(),
    "functional relu": functional,
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "hardswish": nn.Hardswish(),
    "leaky_relu": nn.LeakyReLU(),
    "prelu_kernel": nn.PReLU(),
    "celu": nn.CELU(),
    "elu": nn.SELU(),
    "glu": nn.GLU(1),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "log_sigmoid_forward": nn.LogSigmoid(),
    "softmax": nn.Softmax2d(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: x.clamp_min(0),
}


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(image)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nonlinearities_that_captum_does_not_override_are_named(name: str) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), Apply(ACTIVATIONS[name]), nn.Identity()
    ).eval()
    image = torch.rand(1, 3, 8, 8)
    assert unsupported_nonlinearities(network, network[3], image) == name
    assert unsupported_nonlinearities(network, network[1], image) == ""


def test_what_captum_overrides_or_need_not_is_not_named(leaves_no_trace: NoTrace) -> None:
    network = resnet18(weights=None).eval()
    with leaves_no_trace(network):
        assert unsupported_nonlinearities(network, network.layer4, torch.rand(1, 3, 64, 64)) == ""
