"""Figures of receptive fields."""
