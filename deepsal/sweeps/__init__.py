"""Sweeps: cluster jobs, GPU locks, hyperparameter search and the table of jobs."""
