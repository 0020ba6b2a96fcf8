"""Text -> ids: documents, their decoding, the vocabulary, the corpus on disk, and the windows that training reads."""
