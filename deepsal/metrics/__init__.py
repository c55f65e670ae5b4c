"""Scores of saliency maps: definitions, the older benchmark's, and the table of a data set."""
