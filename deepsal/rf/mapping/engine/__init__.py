"""Gradients computed only where the image reaches the unit."""
