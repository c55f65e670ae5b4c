"""Figures of receptive fields: grids and sheets of units."""
