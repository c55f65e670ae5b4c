"""Training: the Lightning module, losses, checkpoints and loggers."""
