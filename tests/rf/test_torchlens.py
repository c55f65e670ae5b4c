from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models import alexnet, mobilenet_v3_small, resnet18

from deepsal.rf.geometry import measure_geometry

torchlens = pytest.importorskip("torchlens", reason="pip install torchlens")


@pytest.mark.parametrize(
    ("build", "name"),
    [(alexnet, "features.4"), (alexnet, "features.12"), (resnet18, "layer1"), (resnet18, "layer3")],
)
def test_geometry_is_that_of_the_traced_graph(build: Callable[..., nn.Module], name: str) -> None:
    network = build(weights=None).eval()
    trace = torchlens.trace(network, torch.rand(1, 3, 224, 224))
    field = trace.modules[name].receptive_field
    geometry = measure_geometry(network, name)
    assert geometry.size == tuple(axis.size for axis in field.axes[-2:])
    assert geometry.stride == tuple(axis.jump for axis in field.axes[-2:])
    assert geometry.size is not None
    middle = [
        (size - 1) / 2 - before for size, before in zip(geometry.size, geometry.offset, strict=True)
    ]
    assert middle == [float(axis.center0) for axis in field.axes[-2:]]


def test_global_context_has_no_size_in_either() -> None:
    network = mobilenet_v3_small(weights=None).eval()
    trace = torchlens.trace(network, torch.rand(1, 3, 224, 224))
    assert trace.modules["features.2"].receptive_field.status.value == "whole_input"
    assert measure_geometry(network, "features.2").size is None
