"""Engine of gradients that are computed only where the image reaches the unit."""
