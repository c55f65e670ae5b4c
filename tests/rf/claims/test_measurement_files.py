from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deepsal.rf.claims.measurement_files import MeasurementFiles
from deepsal.rf.claims.measurements import measure_network
from tests.rf.tuning.support import SMALL


def assert_equal(one: Any, two: Any) -> None:
    assert type(one) is type(two)
    if is_dataclass(one):
        for of in fields(one):
            assert_equal(getattr(one, of.name), getattr(two, of.name))
    elif isinstance(one, dict):
        assert [*one] == [*two]
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == two.dtype
        assert np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    else:
        assert one == two


def test_all_that_is_measured_is_read_as_it_was_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(4, 4, 3, padding=1))
    options: dict[str, Any] = {"pairs": 64, "shaped": ["1"], "protocol": SMALL, "plantings": 20}
    images = torch.rand(8, 3, 24, 24)
    chain = [*net, nn.MaxPool2d(2)]
    measured = measure_network(net, {"0": [0, 1], "1": [3, 0]}, images, chain=chain, **options)
    assert measured.fields["1/grey"].rule
    assert measured.tuning
    assert measured.patterns
    files = MeasurementFiles(tmp_path / "measured", net, {"pairs": 64})
    assert files.load(net) is None
    files.save(net, measured)
    assert len([*files.folder.iterdir()]) == 1
    assert_equal(files.load(net), measured)
    other = nn.Sequential(*net, nn.Conv2d(4, 4, 1))
    assert MeasurementFiles(files.folder, net, {"pairs": 65}).load(net) is None
    assert MeasurementFiles(files.folder, other, {"pairs": 64}).load(net) is None
    assert files.load(other) is None
    files.remove()
    assert not [*tmp_path.iterdir()]
