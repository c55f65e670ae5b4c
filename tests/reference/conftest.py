collect_ignore = ["generate.py"]  # pysaliency has an environment of its own
