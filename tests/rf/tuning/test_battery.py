import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small

from deepsal.rf.geometry import FieldGeometry, measure_geometry
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.mapping.readout import UnitReadout
from deepsal.rf.tuning import stimuli
from deepsal.rf.tuning.battery import BatteryResponses, record_responses, scale_battery
from tests.conftest import NoTrace, arrays_equal, backbone

BATTERIES = "disks", "gratings", "colours"


def reduced(kind: str) -> nn.Module:
    """Halve an image twice, all colours alike; then a round Gaussian."""
    torch.manual_seed(0)
    at = torch.arange(9.0) - 4
    bump = torch.exp(-(at[:, None] ** 2 + at**2) / 4.5)
    unit = nn.Conv2d(3, 1, 9, padding=4)
    unit.weight.data = bump.expand(1, 3, 9, 9).clone()
    if kind == "pooled":
        return nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(2), unit, nn.ReLU())
    blur = torch.tensor([1.0, 2.0, 1.0])
    halves = [nn.Conv2d(3, 3, 3, 2, padding=1, groups=3, bias=False) for _ in range(2)]
    for half in halves:
        half.weight.data = (blur[:, None] * blur / 16).expand(3, 1, 3, 3).clone()
    return nn.Sequential(*halves, unit, nn.ReLU())


@pytest.mark.parametrize("kind", ["pooled", "convolved"])
def test_stimuli_lie_on_the_units_own_field_behind_strides(kind: str) -> None:
    network = reduced(kind)
    responses = record_responses(network, ["3"], (96, 112))["3"]
    image = torch.full((1, 3, 96, 112), 0.5, requires_grad=True)
    (field,) = torch.autograd.grad(
        network(image)[0, 0, responses.unit[0], responses.unit[1]], image
    )
    mass = field[0].sum(0).abs()
    for axis in (0, 1):
        centroid = (mass.sum(1 - axis) * torch.arange(mass.shape[axis])).sum() / mass.sum()
        assert responses.centre[axis] == pytest.approx(centroid.item(), abs=1e-3)
        assert abs(responses.centre[axis] - (mass.shape[axis] - 1) / 2) <= 2
    bright, dark = responses.disks[0]
    assert np.allclose(dark, -bright, atol=1e-5 * bright.max())


@pytest.mark.parametrize("name", ["conv1", "conv3", "conv5"])
def test_a_crop_and_its_batches_answer_as_whole_images_do(name: str) -> None:
    network, size = backbone(), (72, 120)
    known = measure_geometry(network, name)
    responses = record_responses(
        network, [name], size, {name: known}, contrast=0.25, pixels_per_pass=10000
    )[name]
    b, at, row, column = responses.battery, responses.centre, *responses.unit
    grid = [(f, o, p) for f in b.frequency for o in b.orientation for p in b.phase]
    frequency, orientation, phase = np.array(grid).T
    expected = {
        "disks": stimuli.disk_images(size, at, [*b.radius] * 2, [0.25] * 12 + [-0.25] * 12),
        "gratings": stimuli.grating_images(size, at, frequency, orientation, phase, [0.25]),
        "colours": torch.cat(
            [
                stimuli.disk_images(
                    size, at, [*b.coloured_radius] * 2, [0.25] * 3 + [-0.25] * 3, colour
                )
                for colour in stimuli.COLOUR_AXES.values()
            ]
        ),
    }
    with temporary_eval_mode(network), torch.no_grad():
        reader = UnitReadout(network, name, torch.rand(1, 3, *size))
        grey = reader.activation(torch.full((1, 3, *size), 0.5))[:, :, row, column]
        for what, images in expected.items():
            z = (reader.activation(images)[:, :, row, column] - grey).T.numpy()
            answer = getattr(responses, what)
            assert np.abs(z).max() > 1e-3
            assert np.abs(answer.reshape(z.shape) - z).max() <= 1e-4 * np.abs(z).max()
    assert np.allclose(responses.grey, grey[0], rtol=1e-4, atol=1e-6)


def test_a_battery_has_the_stated_number_of_stimuli_in_the_stated_axes() -> None:
    responses = record_responses(backbone(), ["conv2"], (64, 64))["conv2"]
    shapes = [getattr(responses, what).shape for what in BATTERIES]
    assert shapes == [(6, 2, 12), (6, 7, 6, 4), (6, 3, 2, 3)]
    assert sum(int(np.prod(shape[1:])) for shape in shapes) + 1 - 6 == 205  # six disks serve twice


@pytest.mark.parametrize("field", [None, (1, 1), (3, 3), (200, 200), (31, 61)])
def test_a_battery_goes_from_a_pixel_to_the_field_within_the_image(
    field: tuple[int, int] | None,
) -> None:
    size, centre = (80, 60), (40.0, 30.0)
    b = scale_battery(FieldGeometry(field, (1, 1), (0, 0)), size, centre)
    for steps in (b.radius, b.frequency):
        assert (np.diff(np.log(steps)) > 0).all()
    assert b.radius[0] == pytest.approx(1)
    assert b.frequency[-1] <= 0.5
    rows, columns = np.ogrid[: size[0], : size[1]]
    seen = np.hypot(rows - centre[0], columns - centre[1])
    if field:
        outside = (abs(rows - 40) > (field[0] - 1) / 2) | (abs(columns - 30) > (field[1] - 1) / 2)
        seen = np.where(outside, 0, seen)
    assert b.radius[-1] >= seen.max() + 0.5 - 1e-9  # a disk covers all that is seen
    assert b.radius[-1] <= max(seen.max() + 1, 2)


def test_layers_differ_only_in_what_they_see_and_share_one_call() -> None:
    network = backbone()
    both = record_responses(network, ["conv2", "conv4"], (64, 96))
    alone = record_responses(network, ["conv4"], (64, 96))
    assert [*both] == ["conv2", "conv4"]
    for what in BATTERIES:
        assert arrays_equal(getattr(both["conv4"], what), getattr(alone["conv4"], what))


def test_recording_leaves_the_network_and_the_generators_as_they_were(
    leaves_no_trace: NoTrace,
) -> None:
    network = backbone().train()
    network.get_submodule("conv3").requires_grad_(False)
    states = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    with leaves_no_trace(network):
        record_responses(network, ["conv3", "conv4"], (64, 64))
    assert torch.equal(states[0], torch.get_rng_state())
    assert arrays_equal(states[1], np.random.get_state(legacy=False)["state"]["key"])


def test_global_context_is_asked_on_the_whole_image_around_the_units_cell() -> None:
    torch.manual_seed(0)
    network = mobilenet_v3_small(weights=None)
    responses: BatteryResponses = record_responses(
        network, ["features.2"], (64, 96), pixels_per_pass=64 * 96 * 8
    )["features.2"]
    assert responses.unit == (4, 6)
    assert responses.centre == (4 * 8 + 3.5, 6 * 8 + 3.5)
    assert responses.battery.radius[-1] > 50


class Mixing(nn.Module):
    """Subtracts the batch's mean."""

    def forward(self, image: Tensor) -> Tensor:
        return image - image.mean(0, keepdim=True)


@pytest.mark.parametrize(
    ("network", "known", "contrast", "says"),
    [
        (nn.Sequential(nn.Conv2d(3, 2, 9, padding=4)), None, 0.6, "contrast is 0.6"),
        (nn.Sequential(Mixing()), FieldGeometry((1, 1), (1, 1), (0, 0)), 0.5, "mixes images"),
        (
            nn.Sequential(nn.Conv2d(3, 2, 9, padding=4)),
            FieldGeometry((3, 3), (1, 1), (1, 1)),
            0.5,
            "beyond its theoretical field",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 2, 4, 4)),
            FieldGeometry((8, 8), (1, 1), (0, 0)),
            0.5,
            "no unit at",
        ),
    ],
)
def test_what_cannot_be_asked_is_an_error(
    network: nn.Module, known: FieldGeometry | None, contrast: float, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        record_responses(network, ["0"], (64, 80), {"0": known} if known else None, contrast)
