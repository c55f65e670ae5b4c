collect_ignore = ["reference_scores.py"]  # pysaliency has an environment of its own
