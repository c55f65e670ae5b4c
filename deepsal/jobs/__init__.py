"""Jobs of a sweep: their folders, processes and devices, and what a job does in its process."""
