"""Reports of runs and sweeps: pages, tables and figures, written from the files of run folders."""
