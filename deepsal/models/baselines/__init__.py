"""Baselines: centre, observers, Itti-Koch, GBVS and stored maps."""
