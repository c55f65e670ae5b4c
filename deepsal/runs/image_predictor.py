"""Predictor of a checkpoint's network for any image, without a data set."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepsal.data import SaliencyDataModule, SaliencyDataset, Stimulus
from deepsal.data.image_files import read_upright_image, turn_upright
from deepsal.models.weights import load_run_weights
from deepsal.runs.export import PredictionExport, predict_image
from deepsal.runs.paths import absolute_path
from deepsal.runs.targets import build_part
from deepsal.runs.trained import LOADING, read_record
from deepsal.training.task import SaliencyTask

DATA_LABELS = ("_target_", "name", "dataset", "test", "control")
"""Options of `data` that state the data set, and not the form of the network's input."""


class ImagePredictor:
    """The network of a checkpoint, built from the configuration that the checkpoint states.

    An image is prepared and its map is computed by the functions that `do=[test]` and
    `do=[export]` use for test images.

    Args:
        ckpt: a checkpoint, or a run folder, whose best checkpoint is used, or a part of the name of
            a run below `runs`.
        device: of torch, such as `cpu` or `cuda:1`; None for a GPU if there is one.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: the checkpoint does not state its configuration or cannot be loaded by this
            version, or the device cannot be used.

    Attributes:
        checkpoint: the file.
        training: `name`, `dataset` and `commit` of the training; None for what is not known.
    """

    def __init__(self, ckpt: str | Path, device: str | None = None) -> None:
        self.checkpoint = Path(absolute_path("ckpt", str(ckpt)))
        if not self.checkpoint.is_file():
            raise FileNotFoundError(f"ckpt={ckpt} does not exist; set ckpt=FILE or ckpt=RUN_FOLDER")
        record = read_record(self.checkpoint)
        if record is None:
            raise ValueError(
                f"ckpt={ckpt} does not state its configuration; set ckpt=RUN_FOLDER to the run "
                "folder that it is from"
            )
        config = record["config"]
        self.training = {"name": config.get("name")}
        self.training |= {key: record.get(key) for key in ("dataset", "commit")}
        self.input_options = {
            key: value
            for key, value in config["data"].items()
            if key not in (*DATA_LABELS, *LOADING)
        }
        self.task = build_task(config)
        load_run_weights(self.task, self.checkpoint)
        self.task.eval().to(choose_device(device))

    def predict_density(
        self, pixels: UInt8[Tensor, "3 H W"], name: str = "image"
    ) -> Float[Tensor, "H W"]:
        """Return the density of fixations over an upright image, float32, which sums to one.

        Args:
            pixels: RGB.
            name: of the image, for errors.
        """
        size = (pixels.shape[1], pixels.shape[2])
        nothing = np.zeros((0, 2)), np.zeros(0, np.int64)
        stimulus = Stimulus(name, size, *nothing, read=lambda: pixels)
        splits = {"train": [], "val": [], "test": [0]}
        dataset = SaliencyDataset("images", [stimulus], splits, sigma=1.0, fixations_hidden=True)
        images = SaliencyDataModule(dataset, **self.input_options).images["test"]
        (inputs,) = PredictionExport.network_inputs(images)
        density = predict_image(self.task.log_density, *inputs).log_density.double().exp()
        return (density / density.sum()).float()


def build_task(config: dict[str, Any]) -> SaliencyTask:
    """Build the task of a configuration, with random weights.

    Args:
        config: plain values of a run's configuration.

    Raises:
        ValueError: it is the configuration of a baseline, or this version cannot build it.
    """
    task = {**config["task"], "compile": False}
    if "backbone" not in task["network"]:
        raise ValueError(f"network={task['network'].get('name')} has no weights to predict with")
    backbone = {**task["network"]["backbone"], "weights": None}
    network = {**task["network"], "backbone": backbone}
    built: SaliencyTask = build_part({**task, "network": network}, "task")
    return built


def choose_device(device: str | None = None) -> torch.device:
    """Return a device that torch can use here; without a name, a GPU if there is one.

    Raises:
        ValueError: no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device} cannot be used here; set device=cpu, or leave the option out"
        ) from error


def predict_array(
    image: str | Path | Image.Image | NDArray[Any] | Tensor, ckpt: str | Path
) -> NDArray[np.float32]:
    """Return the density of fixations over an image; see `deepsal.predict`."""
    pixels = image_pixels(image)
    file = Path(absolute_path("ckpt", str(ckpt)))
    written = file.stat().st_mtime_ns if file.is_file() else 0
    return np.asarray(_cached_predictor(file, written).predict_density(pixels).numpy())


def image_pixels(
    image: str | Path | Image.Image | NDArray[Any] | Tensor,
) -> UInt8[Tensor, "3 H W"]:
    """Return the upright pixels of an image.

    Args:
        image: a path; a Pillow image; an array (H, W, 3) or (H, W); or a tensor (3, H, W) or
            (H, W). Arrays and tensors are uint8, or float in [0, 1].

    Raises:
        ValueError: another shape, type or range.
    """
    if isinstance(image, str | Path):
        return read_upright_image(Path(image)).pixels
    if isinstance(image, Image.Image):
        return turn_upright(image.copy()).pixels
    pixels = image.detach().cpu() if isinstance(image, Tensor) else torch.from_numpy(image.copy())
    if pixels.ndim == 2:
        pixels = pixels.expand(3, *pixels.shape)
    elif not isinstance(image, Tensor) and pixels.ndim == 3:
        pixels = pixels.permute(2, 0, 1)
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        kinds = "an array has (H, W, 3) or (H, W), a tensor (3, H, W) or (H, W)"
        raise ValueError(f"the image has the shape {tuple(image.shape)}; {kinds}")
    if pixels.is_floating_point():
        if not ((pixels >= 0) & (pixels <= 1)).all():
            raise ValueError(
                "the image has float values outside [0, 1]; divide them by their white"
            )
        pixels = (255 * pixels).round().to(torch.uint8)
    if pixels.dtype != torch.uint8:
        raise ValueError(
            f"the image has values of type {pixels.dtype}; pass uint8, or float in 0…1"
        )
    return pixels.contiguous()


@lru_cache(maxsize=1)
def _cached_predictor(file: Path, _written: int) -> ImagePredictor:
    """Return the predictor of a checkpoint; a file that was written again is loaded again."""
    return ImagePredictor(file)
