"""The Python library: one function for each command, which calls it."""
