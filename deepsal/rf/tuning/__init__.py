"""Tuning of units: stimulus battery, recorded responses, tuning indices."""
