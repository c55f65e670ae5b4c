"""Training: LightningModule, losses, checkpoints, progress and loggers."""
