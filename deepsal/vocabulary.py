"""Names that the whole package shares, each list once; importing it imports nothing else."""

from signal import SIGUSR2

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")
"""Parts of every backbone, from the image on."""
DEPTHS = ("none", "conv5", "conv4", "conv3", "conv2", "all")
"""First stage that learns: from nothing learns to everything learns."""
SCORES = {
    "nss": "NSS",
    "ig": "IG",
    "cc": "CC",
    "kl": "KL",
    "sim": "SIM",
    "auc": "AUC",
    "sauc": "sAUC",
    "borji": "AUC-Borji",
    "emd": "EMD",
}
"""Scores of an image and their labels, in the order of tables."""
LOWER = ("kl", "emd")
"""Scores of which less is better."""
DIRECTION = {"loss": "min", "kl": "min", "nss": "max", "cc": "max"}
"""Validation metrics that can choose the best epoch, and the better direction of each."""
MEASURES = {
    "correlation": "correlation with epoch 0",
    "cka_to_start": "CKA to epoch 0",
    "csi": "centre-surround index (csi)",
    "k": "surround : centre volume (k)",
    "ssi": "surround suppression by disks (ssi)",
    "extent": "extent, px",
}
"""Measures of fields through training and their labels."""
PREEMPTION_SIGNAL = SIGUSR2
"""Signal that submitit has Slurm send to a job before its time is up."""
