"""Scores of saliency maps: today's definitions, the older benchmark's, and means of a data set."""
