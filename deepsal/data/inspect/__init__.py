"""Inspection of a data set: checks for faults and a contact sheet."""
