"""Text files -> ids: decoding, the corpus on disk, and possible problems of a text."""
