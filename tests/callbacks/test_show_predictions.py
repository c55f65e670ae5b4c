from pathlib import Path

import torch
from PIL import Image

from deepsal.callbacks.show_predictions import ShowPredictions, draw_prediction_panels
from tests.conftest import datamodule
from tests.training.support import fit_with


def test_a_figure_after_every_epoch(tmp_path: Path) -> None:
    fit_with(tmp_path, [ShowPredictions(tmp_path, images=2)], epochs=2)
    files = sorted((tmp_path / "figures" / "predictions").iterdir())
    assert [file.name for file in files] == ["epoch=001.png", "epoch=002.png"]
    with Image.open(files[0]) as picture:
        assert picture.size[0] == 800


def test_fixations_are_drawn_where_they_fell_and_truth_beside_prediction() -> None:
    data = datamodule().images["val"]
    samples = [data[0], data[1]]
    prediction = torch.rand(2, 64, 96)
    figure = draw_prediction_panels(samples, prediction, "validation, epoch 3")
    image, fixations, truth, predicted = figure.axes[:4]
    assert [axis.get_title() for axis in figure.axes[:4]] == [
        "image",
        "fixations",
        "ground truth",
        "prediction",
    ]
    drawn = torch.as_tensor(fixations.lines[0].get_xydata())
    assert torch.allclose(drawn, samples[0].points)
    assert torch.equal(torch.as_tensor(truth.images[0].get_array()), samples[0].density)
    assert torch.equal(torch.as_tensor(predicted.images[0].get_array()), prediction[0])
    assert image.images[0].get_array().shape == (64, 96, 3)  # type: ignore[union-attr]
