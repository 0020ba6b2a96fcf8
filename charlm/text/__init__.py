"""Text -> ids: documents, the vocabulary, the corpus on disk, and the windows for training."""
