from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from deepsal.metrics.functional import auc, cc, nss
from deepsal.models import StoredMaps
from deepsal.runs.export import PredictionExport, grey_levels
from tests.conftest import datamodule, task
from tests.data.support import shapes_datamodule


def predict(image: Tensor, size: tuple[int, int], *_: object) -> Tensor:
    """A smooth density that depends on the image."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    place = image.mean((2, 3))[:, :2] - 0.5
    distance = (y - place[:, 0, None, None]).square() + (x - place[:, 1, None, None]).square()
    return (-3 * distance).flatten(1).log_softmax(1).view_as(distance)


@pytest.mark.parametrize(("path", "tolerance"), [("p.hdf5", 1e-5), ("p", 0.01)])
def test_what_is_exported_is_read_back_with_the_same_scores(
    path: str, tolerance: float, tmp_path: Path
) -> None:
    images = datamodule().images["test"]
    written = PredictionExport(tmp_path / "new" / path)(predict, images)
    maps = StoredMaps(written)
    for index in range(len(images)):
        sample = images[index]
        expected = predict(sample.image[None], sample.size, [sample.name])
        found = maps(sample.image[None], sample.size, [sample.name])
        for score, truth in (
            (nss, sample.fixations),
            (auc, sample.fixations),
            (cc, sample.density),
        ):
            assert score(found, truth[None]).item() == pytest.approx(
                score(expected, truth[None]).item(), abs=tolerance
            )
        if path == "p.hdf5":
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert [file.name for file in written.parent.iterdir()] == [path]


def test_hdf5_holds_float32_log_densities_by_image_name(tmp_path: Path) -> None:
    images = datamodule().images["test"]
    with h5py.File(PredictionExport(tmp_path / "p.h5")(predict, images)) as file:
        assert sorted(file) == sorted(stimulus.name for stimulus in images.stimuli)
        values = file[images.stimuli[0].name]
        assert values.dtype == np.float32
        assert values.shape == images.stimuli[0].size
        assert np.exp(np.asarray(values, np.float64)).sum() == pytest.approx(1, abs=1e-5)


def test_rounding_to_levels_does_not_bias() -> None:
    torch.manual_seed(0)
    density = torch.rand(400, 500, dtype=torch.float64) + 0.01
    true = 255 * density / density.max()
    error = torch.from_numpy(grey_levels((density / density.sum()).log().float())).double() - true
    assert abs(error.mean().item()) < 0.005  # cutting the fraction off would give −0.5
    assert error.abs().max() < 0.501


def test_a_folder_of_images_is_exported_at_their_own_sizes(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, size in (("a.png", (40, 30)), ("b.jpg", (33, 71))):
        Image.new("RGB", size, (90, 120, 150)).save(tmp_path / "images" / name)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    export = PredictionExport(tmp_path / "out", images=tmp_path / "images", size=(24, 32))
    written = export(predict, datamodule().images["test"])
    assert sorted(file.name for file in written.iterdir()) == ["a.png", "b.png"]
    for name, size in (("a.png", (40, 30)), ("b.png", (33, 71))):
        with Image.open(written / name) as picture:
            assert (picture.size, picture.mode) == (size, "L")


@pytest.mark.parametrize("fit", ["squeeze", "pad"])
def test_a_folder_of_images_is_predicted_as_the_images_of_a_test(fit: str, tmp_path: Path) -> None:
    data, module = shapes_datamodule(fit), task()
    images = data.images["test"]
    (tmp_path / "images").mkdir()
    for stimulus in images.stimuli:
        picture = Image.fromarray(stimulus.read().permute(1, 2, 0).numpy())
        picture.save(tmp_path / "images" / f"{stimulus.name}.png")
    written = PredictionExport(tmp_path / "test.h5")(module.log_density, images)
    folder = PredictionExport(tmp_path / "folder.h5", tmp_path / "images", images.size, fit)
    with h5py.File(written) as tested, h5py.File(folder(module.log_density, images)) as read:
        for name in tested:
            np.testing.assert_allclose(tested[name][()], read[f"{name}.png"][()], atol=0.02)


@pytest.mark.parametrize("path", ["p.hdf5", "p"])
def test_an_error_leaves_nothing_behind(path: str, tmp_path: Path) -> None:
    def failing(image: Tensor, size: tuple[int, int], name: list[str], *_: object) -> Tensor:
        if name[0].endswith("5"):
            raise RuntimeError("no memory")
        return predict(image, size, name)

    with pytest.raises(RuntimeError, match="no memory"):
        PredictionExport(tmp_path / path)(failing, datamodule((1, 1, 8)).images["test"])
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    images = datamodule().images["test"]
    folder = tmp_path / "images"
    folder.mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        PredictionExport(tmp_path / "p", images=folder)(predict, images)
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (8, 8)).save(folder / name)
    with pytest.raises(ValueError, match=r"two images would be written as a\.png"):
        PredictionExport(tmp_path / "p", images=folder)(predict, images)
    with pytest.raises(FileExistsError, match=r"set export\.path to a new name"):
        PredictionExport(folder)(predict, images)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["images"]


def test_an_export_that_would_fail_at_its_end_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "p.hdf5").touch()
    with pytest.raises(FileExistsError, match=r"set export\.path to a new name"):
        PredictionExport(tmp_path / "p.hdf5").check_paths()
    PredictionExport(tmp_path / "p.hdf5").check_paths(resumed=True)
    with pytest.raises(ValueError, match=r"export\.images=.*nowhere holds no image"):
        PredictionExport(tmp_path / "q", images=tmp_path / "nowhere").check_paths()
