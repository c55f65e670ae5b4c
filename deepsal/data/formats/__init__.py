"""File formats for fixations: a folder of CSV files and pysaliency's HDF5."""
