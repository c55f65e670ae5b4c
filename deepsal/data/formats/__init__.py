"""File formats of fixations: a folder of CSV files and the HDF5 files of pysaliency."""
