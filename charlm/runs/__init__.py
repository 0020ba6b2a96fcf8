"""Run folders: their files and metrics, their start, and comparisons of runs."""
