"""Baselines: uniform, centre prior, human ceiling, Itti-Koch, GBVS and stored maps."""
