"""The network in NumPy: its mathematics, its shapes, its loss, and the file that holds it on disk."""
