import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import interpolate

from deepsal.data import Sample
from deepsal.data.formats.region_sets import RegionSet, read_region_set
from deepsal.models import STAGES, build_backbone
from tests.conftest import backbone, datamodule

STUDY = Path(__file__).parents[2] / "experiments" / "regions"
MEASURE, FIGURE, PREFERENCE, RESPONSES = (
    runpy.run_path(str(STUDY / f"{name}.py"))
    for name in ("measure", "figure", "preference", "unit_responses")
)
RANDOM = np.random.default_rng(0)


def two_regions(image: str, size: tuple[int, int]) -> np.ndarray:
    """A face in a place of each image's own, and text in every image but one of four."""
    masks = np.zeros((2, *size), np.bool_)
    at = sum(image.encode())
    masks[0, at % 40 : at % 40 + 20, at % 70 : at % 70 + 20] = True
    masks[1, 20:40, 50:80] = at % 4 > 0
    return masks


REGIONS = RegionSet(("face", "text"), two_regions)


def samples(count: int) -> list[Sample]:
    images = datamodule((1, 1, count)).images["test"]
    return [images[i] for i in range(count)]


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = backbone().eval()
    return model


def test_networks_become_tables_and_a_figure() -> None:
    groups = {"before": [network(0)], "random": [network(1), network(2)]}
    groups |= {kind: [network(3), network(4)] for kind in ("shuffled_fixations", "other_task")}
    groups["tuned"] = [network(0), network(5)]
    images = samples(16)
    before = RESPONSES["stage_maps"](groups["before"][0], images)
    grids = RESPONSES["place_grids"](images, REGIONS, before)
    results = RESPONSES["measure_networks"](groups, images, before, grids)
    tuned = results["conv3"]["tuned"]
    assert np.allclose(tuned.change[0], 0)
    assert np.array_equal(tuned.z[0], results["conv3"]["before"].z[0], equal_nan=True)
    labels, size = REGIONS.labels, images[0].size
    tables = MEASURE["result_tables"](results, labels)
    tables["planted"] = PREFERENCE["planted_table"](before, grids, results, labels, size)
    for name, table in tables.items():
        assert [*table.columns] == [*pd.read_csv(STUDY / f"{name}.csv").columns]
    assert {*tables["networks"]["network"]} == {*FIGURE["NETWORKS"]} == {*MEASURE["NETWORKS"]}
    figure = FIGURE["draw_regions"](tables["networks"], tables["expected"])
    assert len(figure.axes) == 6


def test_runs_become_groups_of_networks(tmp_path: Path) -> None:
    options = {"name": "resnet18", "model": None, "weights": None}
    for name, control in (("tuned", None), ("edges", "other_task")):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        config = {"backbone": options, "control": control, "seed": 3}
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
        state = build_backbone("resnet18", None).state_dict()
        state = {f"network.backbone.{key}": torch.ones_like(value) for key, value in state.items()}
        torch.save({"state_dict": state}, tmp_path / name / "checkpoints" / "best.ckpt")
    groups = MEASURE["group_networks"]([tmp_path / "tuned", tmp_path / "edges"])
    counts = {kind: len(networks) for kind, networks in groups.items()}
    assert counts == {
        "before": 1,
        "random": 1,
        "shuffled_fixations": 0,
        "other_task": 1,
        "tuned": 1,
    }
    assert all((weight == 1).all() for weight in groups["tuned"][0].parameters())


def test_runs_of_some_kinds_alone_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = MEASURE["main"]
    monkeypatch.setattr(sys, "argv", ["measure.py", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "arguments are required: --data" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["measure.py", str(tmp_path), "--data", str(tmp_path)])
    groups = {kind: [1] for kind in MEASURE["NETWORKS"]} | {"other_task": []}
    monkeypatch.setitem(main.__globals__, "group_networks", lambda runs: groups)
    with pytest.raises(SystemExit):
        main()
    assert "RUNs lack other_task; add the runs of" in capsys.readouterr().err


def test_responses_are_those_of_maps_enlarged_to_the_image() -> None:
    maps = torch.rand(3, 4, 6, dtype=torch.float64)
    maps[2] = 5
    weights = torch.rand(2, 32, 60)
    weights /= weights.sum((1, 2), keepdim=True)
    weights[1] = torch.nan
    large = interpolate(maps[None], (32, 60), mode="bilinear", align_corners=False)[0]
    z = (large - large.mean((1, 2), keepdim=True)) / large.std((1, 2), keepdim=True, correction=0)
    expected = (z * weights[0]).sum((1, 2))[:2]
    grids = RESPONSES["reduce_weights"](weights, maps)
    means = RESPONSES["standardised_means"](maps, grids, (32, 60))
    assert torch.allclose(means[:2, 0], expected, atol=1e-5)
    assert means[2].tolist()[0] == 0
    assert means[:2, 1].isnan().all()


def test_places_are_the_regions_the_fixated_rest_and_the_fixations() -> None:
    fixations, density = torch.zeros(2, 64, 96)
    fixations[2, 3], fixations[60, 90] = 3, 1
    density[2, 3], density[50, 50], density[60, 90] = 0.2, 0.4, 0.4
    sample = Sample(torch.zeros(3, 4, 4), fixations, density, torch.zeros(4, 2), "a", (64, 96))
    masks = np.zeros((2, 64, 96), np.bool_)
    masks[0, 2:4, 3:5] = masks[0, 50, 50] = True
    weights = RESPONSES["place_weights"](sample, RegionSet(("face", "text"), lambda *_: masks))
    face, text, fixated, background, in_face, in_text, elsewhere, every = weights
    assert face[2, 3] == 0.2
    assert text.isnan().all()
    assert in_text.isnan().all()
    assert fixated[60, 90] == 1  # the other pixel of highest density is in a face
    assert background.count_nonzero() == 64 * 96 - 6
    assert (in_face[2, 3], elsewhere[60, 90]) == (1, 1)
    assert every[2, 3] == 0.75


def test_a_planted_unit_is_called_and_noise_is_not() -> None:
    maps = torch.from_numpy(RANDOM.normal(size=(60, 40, 6, 8)))
    masks = torch.zeros(60, 2, 48, 64)
    for n, mask in enumerate(masks):
        mask[0, n % 30 : n % 30 + 12, n % 40 : n % 40 + 12] = 1
        mask[1] = (1 - mask[0]) * (torch.rand(48, 64) < 0.1)
    masks /= masks.sum((2, 3), keepdim=True)
    masks[0] = torch.nan  # an image without the region
    grids = torch.stack([RESPONSES["reduce_weights"](mask, maps[0]) for mask in masks])
    means = [
        RESPONSES["standardised_means"](of, at, (48, 64))
        for of, at in zip(maps, grids, strict=True)
    ]
    region, elsewhere = torch.stack(means).numpy().transpose(2, 0, 1)
    rows = [*PREFERENCE["plant_units"]([*maps], region - elsewhere, grids, (48, 64))]
    null, strongest = rows[0], rows[-1]
    assert null["power"] <= 0.05
    assert max(row["false_alarms"] for row in rows) <= 0.05
    assert strongest["power"] == 1
    assert strongest["preference"] > 1


def test_the_best_units_are_chosen_on_other_images() -> None:
    noise = RANDOM.normal(size=(60, 200))
    noise[3] = np.nan
    means = MEASURE["best_units_mean"](noise)
    assert np.isnan(means[3])
    assert abs(np.nanmean(means)) < 0.15  # chosen on the same images it is above 0.2
    noise[:, :10] += 1
    assert np.nanmean(MEASURE["best_units_mean"](noise)) > 0.9


def test_a_difference_of_means_over_unequal_images_keeps_its_value() -> None:
    one, two = RANDOM.normal(1, 1, (3, 50)), RANDOM.normal(0, 1, (3, 50))
    one[:, ::3], two[:, :20] = np.nan, np.nan
    difference = MEASURE["difference_of_means"](one, two)
    assert difference.mean() == pytest.approx(np.nanmean(one) - np.nanmean(two))


def test_what_is_published_has_every_stage_and_its_boxes_can_be_read() -> None:
    regions = read_region_set(STUDY / "boxes.csv")
    assert {*regions.labels} == {"face", "text"}
    boxes = pd.read_csv(STUDY / "boxes.csv")
    assert (boxes["x1"] <= 800).all()
    assert (boxes["y1"] <= 600).all()
    for name in ("networks", "expected", "planted"):
        table = pd.read_csv(STUDY / f"{name}.csv")
        assert tuple(table["stage"].unique()) == STAGES
    expected = pd.read_csv(STUDY / "expected.csv").dropna()
    assert (expected["low"] <= expected["difference"]).all()
    assert (expected["difference"] <= expected["high"]).all()
