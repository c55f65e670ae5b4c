"""One run: its steps, its folder and what it writes."""
