"""Synthetic pop-out search arrays."""
