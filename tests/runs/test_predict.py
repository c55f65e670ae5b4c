import json
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from deepsal.runs.image_boxes import Box
from deepsal.runs.image_predictor import ImagePredictor
from deepsal.runs.predict import MapFormat, PredictionJob, map_similarity, run_predictions


class BrightnessPredictor:
    """Predictor whose density is proportional to the brightness, and 1 more."""

    checkpoint = Path("/runs/a/checkpoints/best.ckpt")
    training = {"name": "a", "dataset": "OSIE", "commit": "abc"}  # noqa: RUF012

    def predict_density(self, pixels: torch.Tensor, name: str = "image") -> torch.Tensor:
        if name == "huge.png":
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
        bright = pixels.float().mean(0) + 1
        return bright / bright.sum()


PREDICTOR = cast(ImagePredictor, BrightnessPredictor())


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:10, :15] = 254
    files = [tmp_path / "in" / name for name in ("a/x.png", "b/x.png", "note.png", "huge.png")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels.transpose(1, 0, 2)[::-1].copy()).save(files[1], exif=exif)
    files[2].write_text("no image")
    return files


def job(images: list[Path], folder: Path, **options: Any) -> PredictionJob:
    return PredictionJob(images, folder, options.pop("boxes", {}), **options)


def test_each_image_has_its_overlay_its_density_and_its_shares(
    images: list[Path], tmp_path: Path
) -> None:
    boxes = {images[1]: [Box("half", 0, 0, 15, 20)]}
    assert run_predictions(job(images[:2], tmp_path / "out", boxes=boxes), PREDICTOR) == (0, {})
    for name, orientation in (("a/x", 1), ("b/x", 6)):
        density = np.load(tmp_path / "out" / f"{name}.npy")
        assert (density.shape, density.dtype) == ((20, 30), np.float32)
        with Image.open(tmp_path / "out" / f"{name}.overlay.png") as overlay:
            assert overlay.size == (30, 20)
        about = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert about["size"] == {"width": 30, "height": 20}
        assert about["orientation"] == orientation
        assert about["density"] == "x.npy"
        assert (about["checkpoint"], about["training"]["commit"]) == (
            "/runs/a/checkpoints/best.ckpt",
            "abc",
        )
        total = 150 * 255 + 450
        shares = {"top_left": 150 * 255 / total, "bottom_right": 150 / total}
        assert {key: about["quadrants"][key] for key in shares} == pytest.approx(shares)
    (row,) = about["boxes"]
    assert (row["label"], row["x1"], row["area"]) == ("half", 15, 0.5)
    assert row["share"] == pytest.approx((150 * 255 + 150) / total)


def test_an_image_that_fails_is_one_line_and_stops_no_other(
    images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = {images[0]: [Box("wide", 0, 0, 31, 20)]}
    order = [*images[2:], tmp_path / "gone.png", *images[:2]]
    failures, _ = run_predictions(job(order, tmp_path / "out", boxes=boxes), PREDICTOR)
    assert failures == 4
    lines = capsys.readouterr().err.splitlines()
    assert [
        len([line for line in lines if word in line])
        for word in (
            "note.png is not a readable image",
            "huge.png is too large for the memory; set --device cpu",
            "gone.png",
            "x.png: the box wide=0,0,31,20 leaves",
        )
    ] == [1, 1, 1, 1]
    assert len(lines) == 4
    written = sorted(file.name for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert written == ["x.json", "x.npy", "x.overlay.png"]


@pytest.mark.parametrize("map_format", ["npy", "hdf5"])
def test_nothing_is_left_where_no_image_could_be_read(
    map_format: MapFormat, images: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="none of 1 images could be predicted"):
        run_predictions(job(images[2:3], tmp_path / "out", map_format=map_format), PREDICTOR)
    assert not list((tmp_path / "out").iterdir())


def test_all_densities_may_be_in_one_file(images: list[Path], tmp_path: Path) -> None:
    run_predictions(job(images[:3], tmp_path / "out", map_format="hdf5"), PREDICTOR)
    with h5py.File(tmp_path / "out" / "maps.hdf5") as store:
        assert store["a/x"].dtype == np.float32
        assert store["in/b/x" if "in" in store else "b/x"][()].sum() == pytest.approx(1)
    about = json.loads((tmp_path / "out" / "a" / "x.json").read_text())
    assert about["density"] == "maps.hdf5:a/x"
    assert not list((tmp_path / "out").rglob("*.npy"))


def test_outputs_that_exist_are_refused_before_any_work(images: list[Path], tmp_path: Path) -> None:
    once = job(images[:2], tmp_path / "out")
    once.refuse_existing()
    run_predictions(once, PREDICTOR)
    assert sorted(once.outputs()) == sorted(
        file for file in (tmp_path / "out").rglob("*") if file.is_file()
    )
    with pytest.raises(FileExistsError, match=r"x\.overlay\.png exists \(and 5 more\); set --over"):
        once.refuse_existing()


def test_two_versions_are_compared_box_by_box(images: list[Path], tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (90, 90, 90)).save(images[2])
    boxes = {images[0]: [Box("half", 0, 0, 15, 20), Box("own", 0, 0, 1, 1)]}
    boxes[images[2]] = [Box("half", 0, 0, 15, 20)]
    compared = job(
        [images[0], images[2]], tmp_path / "out", boxes=boxes, compared=(images[2], images[0])
    )
    failures, summary = run_predictions(compared, PREDICTOR)
    assert failures == 0
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == summary
    total = 150 * 255 + 450
    assert summary["images"] == [str(images[2]), str(images[0])]
    half = summary["boxes"]["half"]
    assert half["first"] == pytest.approx(0.5)
    assert half["difference"] == pytest.approx((150 * 255 + 150) / total - 0.5)
    assert summary["boxes"]["own"]["first"] is summary["boxes"]["own"]["difference"] is None
    assert summary["quadrants"]["top_left"]["first"] == pytest.approx(0.25)
    assert set(summary["similarity"]) == {"cc", "sim", "kl"}
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 1000


def test_versions_of_different_sizes_are_refused(images: list[Path], tmp_path: Path) -> None:
    Image.new("RGB", (31, 20)).save(images[2])
    pair = (images[0], images[2])
    compared = job([*pair], tmp_path / "out", compared=pair)
    with pytest.raises(ValueError, match=r"x\.png has 30x20 pixels and .*note\.png 31x20; save"):
        run_predictions(compared, PREDICTOR)
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_a_map_is_similar_to_itself() -> None:
    density = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    density /= density.sum()
    similarity = map_similarity(density, density)
    assert similarity == pytest.approx({"cc": 1, "sim": 1, "kl": 0}, abs=1e-6)
