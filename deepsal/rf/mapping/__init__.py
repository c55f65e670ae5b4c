"""Mapping of receptive fields: crops, methods, alignment and averages."""
