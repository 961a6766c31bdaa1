"""One training run: its parts, its loop, and the files that it leaves."""
