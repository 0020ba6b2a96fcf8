"""Character-level SimpleRNN language models: a text file in, a trained model and new text out."""

__version__ = "0.1.0"
