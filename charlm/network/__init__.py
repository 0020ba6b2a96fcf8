"""The network in NumPy: its mathematics, its shapes, its loss, and the bundle that holds it on disk."""
