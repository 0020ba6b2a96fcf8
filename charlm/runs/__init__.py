"""A run on disk: its choice, first files, callbacks, outcome and summary, and comparisons."""
