"""Training of saliency networks, and measurement of what their units learn."""

__version__ = "0.2.0"
