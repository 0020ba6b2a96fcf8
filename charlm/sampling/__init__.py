"""Logits -> ids -> text, and how much of that text occurs in the training text."""
