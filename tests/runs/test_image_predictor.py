from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from PIL import Image

import deepsal
from deepsal.data import popout_dataset
from deepsal.runs.image_predictor import ImagePredictor, build_task, image_pixels
from deepsal.training.checkpoints import AtomicCheckpointIO
from tests.support import ROOT, SMALL, composed, execute, plain, write_checkpoint

OPTIONS = [*SMALL, "logger=csv", "rf=none", "data.dataset.size=[70,90]", "callbacks.show=null"]


@pytest.fixture(autouse=True, scope="module")
def hydra_from_here() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run"), *OPTIONS).parents[1]


@pytest.fixture(scope="module")
def predictor(run_folder: Path) -> ImagePredictor:
    return ImagePredictor(run_folder, "cpu")


def test_a_prediction_is_the_exported_one(
    run_folder: Path, predictor: ImagePredictor, tmp_path: Path
) -> None:
    export = ["do=[export]", f"ckpt={run_folder}", "trainer.accelerator=cpu"]
    execute(composed(tmp_path / "run", *OPTIONS, *export), tmp_path / "run")
    dataset = popout_dataset((4, 3, 3), size=(70, 90))
    with h5py.File(tmp_path / "run" / "predictions.hdf5") as exported:
        assert len(exported) == 3
        for index in dataset.splits["test"]:
            stimulus = dataset.stimuli[index]
            density = predictor.predict_density(stimulus.read()).numpy()
            assert density == pytest.approx(np.exp(exported[stimulus.name][()]), rel=1e-5)
            assert density.shape == (70, 90)


def test_a_density_sums_to_one_at_any_size(predictor: ImagePredictor) -> None:
    for size in ((1, 1), (7, 500), (333, 200)):
        density = predictor.predict_density(torch.full((3, *size), 90, dtype=torch.uint8))
        assert (density.shape, density.dtype) == (size, torch.float32)
        assert density.double().sum().item() == pytest.approx(1, abs=1e-5)


def test_a_path_an_array_a_tensor_and_a_pillow_image_are_one_image(
    run_folder: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "a.png", exif=exif)
    expected = deepsal.predict(pixels, run_folder)
    assert expected.shape == (40, 60)
    assert expected.dtype == np.float32
    with Image.open(tmp_path / "a.png") as opened:
        kinds = [
            tmp_path / "a.png",
            str(tmp_path / "a.png"),
            opened,
            pixels / 255,
            torch.from_numpy(pixels).permute(2, 0, 1),
            torch.from_numpy(pixels).permute(2, 0, 1) / 255,
        ]
        for image in kinds:
            assert np.array_equal(deepsal.predict(image, run_folder), expected)
        assert opened.size == (40, 60), "the image of the caller is not turned"
    grey = deepsal.predict(pixels[..., 0], str(run_folder / "checkpoints" / "best.ckpt"))
    assert np.array_equal(grey, deepsal.predict(pixels[..., [0, 0, 0]], run_folder))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int64), r"type torch\.int64"),
        (np.full((4, 4), 1.5), r"outside \[0, 1\]"),
        (np.full((4, 4), np.nan), r"outside \[0, 1\]"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"shape \(4, 4, 3\)"),
    ],
)
def test_an_array_that_is_no_image_is_named(image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_pixels(image)  # type: ignore[arg-type]


def test_a_checkpoint_that_was_written_again_is_loaded_again(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = write_checkpoint(tmp_path / "run", *OPTIONS)
    before = deepsal.predict(image, file)
    stored = torch.load(file, weights_only=True)
    state = {key: value * 1.5 for key, value in stored["state_dict"].items()}
    AtomicCheckpointIO(stored["run"]).save_checkpoint({"state_dict": state}, file)
    assert not np.array_equal(deepsal.predict(image, file), before)


def test_what_is_no_checkpoint_of_a_network_is_one_line(tmp_path: Path) -> None:
    load = partial(ImagePredictor, device="cpu")
    with pytest.raises(FileNotFoundError, match=r"ckpt=.*x\.ckpt does not exist; set ckpt="):
        load(tmp_path / "x.ckpt")
    (tmp_path / "x.ckpt").write_text("no checkpoint")
    with pytest.raises(ValueError, match=r"x\.ckpt is no checkpoint of deepsal; set ckpt=FILE"):
        load(tmp_path / "x.ckpt")
    torch.save({"state_dict": {"network.backbone.mean": torch.ones(1)}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt does not state .*; set ckpt=RUN_FOLDER"):
        load(tmp_path / "x.ckpt")
    baseline = plain(composed(tmp_path, *OPTIONS, "network=itti"))
    with pytest.raises(ValueError, match="network=itti has no weights to predict with"):
        build_task(baseline)


def test_a_device_that_is_missing_is_one_line(run_folder: Path) -> None:
    for device in ("cuda:9", "abacus"):
        with pytest.raises(ValueError, match=f"device={device} cannot be used here; set device="):
            ImagePredictor(run_folder, device)
