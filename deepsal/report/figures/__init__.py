"""Figures of a run or a sweep: the change of its fields, and figures for a paper."""
