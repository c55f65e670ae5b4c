"""Names that the whole package shares: stages, depths, scores and measures, each list once.

This module imports nothing else of the package.
"""

from signal import SIGUSR2
from typing import NamedTuple


class ScoreEntry(NamedTuple):
    """Label of a score, its better direction (`max` or `min`) and its unit."""

    label: str
    direction: str = "max"
    unit: str = ""


STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")
"""Stages of every backbone, in the order from the image on."""
DEPTHS = ("none", "conv5", "conv4", "conv3", "conv2", "all")
"""First stage that learns, from `none` (only the decoder) to `all` (conv1)."""
FITS = ("squeeze", "pad", "crop_long")
"""Choices for an image whose shape is not that of the network's image."""
SCORES = {
    "nss": ScoreEntry("NSS", "max", "standard deviations"),
    "ig": ScoreEntry("IG", "max", "bits per fixation"),
    "cc": ScoreEntry("CC"),
    "kl": ScoreEntry("KL", "min", "nats"),
    "sim": ScoreEntry("SIM"),
    "auc": ScoreEntry("AUC"),
    "sauc": ScoreEntry("sAUC"),
    "borji": ScoreEntry("AUC-Borji"),
    "emd": ScoreEntry("EMD", "min", "cells of 32 px"),
}
"""Scores of an image, in the order of tables."""
TARGET_SCORES = {
    "gsi": ScoreEntry("GSI"),
    "msrtarget": ScoreEntry("MSR target"),
    "msrbackground": ScoreEntry("MSR background", "min"),
    "search": ScoreEntry("search", "min", "fixations"),
}
"""Scores of an image with a search target, in the order of tables; `search` is to the target."""
VALIDATION_METRICS = {"loss": "min"} | {s: SCORES[s].direction for s in ("kl", "nss", "cc")}
"""Validation metrics that can choose the best epoch, and the better direction of each."""
MEASURES = {
    "correlation": "correlation with epoch 0",
    "reliability": "reliability",
    "cka_to_start": "CKA to epoch 0",
    "csi": "centre-surround index (csi)",
    "k": "surround : centre volume (k)",
    "ssi_grating": "surround suppression by gratings (ssi)",
    "ssi": "surround suppression by disks (ssi)",
    "extent": "extent, px",
}
"""Measures of fields through training and their labels."""
CHECKPOINT_RECORD = "run"
"""Entry of a checkpoint with the configuration, the data set and the code of its training."""
PREEMPTION_SIGNAL = SIGUSR2
"""Signal that submitit has Slurm send to a job before its time is up."""
