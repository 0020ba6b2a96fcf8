"""How well a model predicts a text, and how well compressors and n-gram models do."""
