"""The network in NumPy: its equations, shapes and losses, and the model file."""
