"""Backprojection of a clamped unit, and the response to its re-injection."""
