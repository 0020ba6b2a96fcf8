"""What a trained network does: first as numbers (NumPy only), then as pictures and one HTML page."""
