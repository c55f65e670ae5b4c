"""Training of saliency networks, and measurement of what their units learn."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__version__ = "0.2.0"


def predict(image: Any, ckpt: "str | Path") -> "NDArray[np.float32]":
    """Return the predicted density of fixations over an image.

    The checkpoint states its own configuration; no data set is needed. The network of the last
    checkpoint stays in memory for the next call, on a GPU if there is one.

    Args:
        image: a path; a Pillow image; an array (H, W, 3) or (H, W); or a tensor (3, H, W) or
            (H, W). Arrays and tensors are uint8, or float in [0, 1]. A path or Pillow image is
            turned as its EXIF orientation states.
        ckpt: a checkpoint, or a run folder, whose best checkpoint is used, or a part of the name of
            a run below `runs`.

    Returns:
        (H, W), float32, which sums to one over the pixels of the upright image.

    Raises:
        FileNotFoundError: no such image or checkpoint.
        ValueError: the image or the checkpoint cannot be read.
    """
    from deepsal.runs.image_predictor import predict_array  # imports torch

    return predict_array(image, ckpt)
