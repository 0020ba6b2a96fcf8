"""Measure a trained network with NumPy, and show the results as figures and as one HTML page."""
