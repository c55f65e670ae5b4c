"""Figures of predictions and observed fixations through training."""

import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from typing_extensions import override

from deepsal.atomic import replace_file
from deepsal.callbacks.prediction_gallery import write_gallery
from deepsal.data.batch import ImageRegion, Sample, collate_regions
from deepsal.rf.hooks import temporary_eval_mode
from deepsal.rf.plot.tile_board import png_bytes
from deepsal.training.framed_prediction import predict_log_density
from deepsal.training.wandb_log import log_figure

PANEL_TITLES = ("image", "fixations", "ground truth", "prediction")


class ShowPredictions(pl.Callback):
    """Callback that draws image, fixations, ground truth and prediction after every epoch.

    Writes `figures/predictions/epoch=NNN.png` and logs it as `val/predictions`. After a test,
    with NSS, writes `gallery.npz` (`deepsal.callbacks.prediction_gallery`); an error there is a
    warning.

    Args:
        folder: the run folder.
        images: number of validation images, the first ones.
        every_n_epochs: interval between figures.
    """

    def __init__(self, folder: str | Path, images: int = 4, every_n_epochs: int = 1) -> None:
        self.folder = Path(folder)
        self.images = images
        self.every_n_epochs = every_n_epochs

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not fitting or not trainer.is_global_zero or epoch % self.every_n_epochs:
            return
        dataset = trainer.datamodule.images["val"]  # type: ignore[attr-defined]
        samples = [dataset[i] for i in range(min(self.images, len(dataset)))]
        network = pl_module.network
        assert isinstance(network, torch.nn.Module)
        with temporary_eval_mode(network), torch.no_grad():
            image = torch.stack([sample.image for sample in samples]).to(pl_module.device)
            height, width = image.shape[-2:]
            regions = collate_regions([sample.region for sample in samples], (height, width))
            names = [sample.name for sample in samples]
            prediction = predict_log_density(network, image, (height, width), names, regions)
            prediction = prediction.exp().cpu()
        file = self.folder / "figures" / "predictions" / f"epoch={epoch:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        figure = draw_prediction_panels(samples, prediction, f"validation, epoch {epoch}")
        with replace_file(file) as partial:
            partial.write_bytes(png_bytes(figure))
        log_figure(trainer, "val/predictions", file)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rows = getattr(pl_module, "test_rows", [])
        scores = [
            (i * trainer.world_size, row["nss"]) for i, row in enumerate(rows) if "nss" in row
        ]
        if not trainer.is_global_zero or not scores:
            return
        predict = pl_module.log_density
        assert callable(predict)
        dataset = trainer.datamodule.images["test"]
        try:
            write_gallery(self.folder / "gallery.npz", predict, dataset, scores)
        except Exception as error:  # the scores of the test matter more than its pictures
            warnings.warn(f"no gallery.npz: {type(error).__name__}: {error}", stacklevel=2)


def draw_prediction_panels(samples: list[Sample], prediction: torch.Tensor, title: str) -> Figure:
    """Draw image, fixations, ground truth and prediction side by side, a row per image.

    Args:
        samples: B images of one size with their ground truth.
        prediction: densities (B, H, W). Each map is drawn from 0 to its own maximum.
        title: title of the figure.
    """
    height, width = samples[0].image.shape[-2:]
    figure = Figure(
        figsize=(8, 8 * height / width / 4 * len(samples) + 0.55), dpi=100, facecolor="white"
    )
    axes = figure.subplots(len(samples), 4, squeeze=False)
    for row, sample, predicted in zip(axes, samples, prediction, strict=True):
        picture = sample.image.permute(1, 2, 0).numpy()
        row[0].imshow(picture)
        row[1].imshow(picture.mean(2), cmap="gray", vmin=-0.5, vmax=1.5)
        region = sample.region or ImageRegion(0, 0, height, width)
        scale = torch.tensor([region.width / sample.size[1], region.height / sample.size[0]])
        points = (sample.points + 0.5) * scale - 0.5 + torch.tensor([region.left, region.top])
        row[1].plot(*points.T.numpy(), ".", color="#e4572e", ms=4, mew=0)
        row[1].set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        row[2].imshow(sample.density.numpy(), cmap="inferno", vmin=0)
        row[3].imshow(predicted.numpy(), cmap="inferno", vmin=0)
    for axis, name in zip(axes[0], PANEL_TITLES, strict=True):
        axis.set_title(name, fontsize=8, pad=3)
    for axis in axes.ravel():
        axis.axis("off")
    figure.suptitle(title, fontsize=9)
    top = 0.45 / figure.get_figheight()
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - top, wspace=0.03, hspace=0.04)
    return figure
