"""Our scores against other people's: what `make reference` reruns and the tests read."""
