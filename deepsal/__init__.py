"""deepsal: what a deep network learns about saliency, measured."""

__version__ = "0.1.0"
