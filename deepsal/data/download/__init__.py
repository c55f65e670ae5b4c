"""Downloads of published data sets: addresses, checksums, resumed transfers, unpacking."""
