"""Measures of a receptive field: profile, centre, shape, fitted models, similarity."""
