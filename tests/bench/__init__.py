"""Side-by-side timings: ours against a named reference, alternating in one process."""
