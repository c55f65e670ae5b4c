"""File formats of fixations (CSV folder, pysaliency HDF5) and of regions of images."""
