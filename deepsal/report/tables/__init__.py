"""Tables of scores, runs and seeds."""
