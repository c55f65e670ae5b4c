"""Receptive field mapping: gradient methods, alignment and cropping."""
