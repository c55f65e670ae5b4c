import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from deepsal.callbacks.prediction_gallery import best_median_worst, write_gallery
from deepsal.callbacks.show_predictions import ShowPredictions
from deepsal.report.page.gallery import read_gallery
from tests.conftest import datamodule, task


def test_best_middle_and_worst_are_no_image_twice() -> None:
    values = [float(i) for i in range(20)]
    assert best_median_worst(values) == {
        "best": [19, 18, 17],
        "median": [11, 10, 9],
        "worst": [2, 1, 0],
    }
    assert best_median_worst([]) == {"best": [], "median": [], "worst": []}
    assert best_median_worst([1.0]) == {"best": [0], "median": [], "worst": []}
    few = best_median_worst([1.0, 2.0, 3.0, 4.0])
    places = [place for group in few.values() for place in group]
    assert sorted(places) == [0, 1, 2, 3]


def test_a_test_leaves_a_gallery_of_its_images(tmp_path: Path) -> None:
    module, data = task(), datamodule((8, 6, 6))
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        callbacks=[ShowPredictions(tmp_path)],
    )
    trainer.test(module, data, verbose=False)
    with np.load(tmp_path / "gallery.npz") as file:
        about = json.loads(str(file["about"]))
        image, truth, prediction = (
            np.stack([file[f"{key}/{n}"] for n in range(len(about))])
            for key in ("image", "truth", "prediction")
        )
    assert image.shape == (6, 64, 96, 3)
    assert truth.shape == prediction.shape == (6, 64, 96)
    assert [row["rank"] for row in about] == ["best"] * 2 + ["median"] * 2 + ["worst"] * 2
    scores = {row["name"]: row["nss"] for row in module.test_rows}
    assert all(row["nss"] == pytest.approx(scores[row["name"]]) for row in about)
    assert about[0]["nss"] == max(scores.values())
    x, y = np.array(about[0]["fixations"]).T
    height, width = truth.shape[1:]
    at = truth[0][(y * height).astype(int), (x * width).astype(int)]
    assert at.mean() > 2 * truth[0].mean(), "fixations lie where the truth is dense"
    assert truth[0].max() >= 250


def test_images_of_several_sizes_have_one_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, sizes = datamodule((8, 6, 3)).images["test"], [(64, 96), (90, 60), (40, 80)]
    samples = [images[i]._replace(size=size) for i, size in enumerate(sizes)]
    samples = [sample._replace(density=torch.rand(sample.size)) for sample in samples]
    monkeypatch.setattr(type(images), "__getitem__", lambda _images, i: samples[i])

    def predict(image: Tensor, size: tuple[int, int], *_: object) -> Tensor:
        return torch.full((len(image), *size), -1.0)

    write_gallery(tmp_path / "gallery.npz", predict, images, [(i, float(i)) for i in range(3)])
    assert [image.size for image in read_gallery(tmp_path)] == [(80, 40), (60, 90), (96, 64)]
