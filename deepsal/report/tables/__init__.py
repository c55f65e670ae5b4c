"""Tables of scores: runs, seeds, and the summary at the end of a run."""
