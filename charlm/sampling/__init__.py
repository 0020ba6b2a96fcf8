"""Generation: from logits to ids to text."""
