"""The loss of a network on a text, compared with n-gram models and a compressor."""
