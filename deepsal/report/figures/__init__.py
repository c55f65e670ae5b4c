"""Figures of a run or sweep for a paper."""
