"""The Python library: one function for each command, which calls it."""

WINDOW = 256
"""Default length of a scored window, in characters."""
