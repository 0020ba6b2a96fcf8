"""A small search space and a text for it."""

import random

TEXT = "".join(random.Random(0).choices("abcde ", weights=[9, 5, 3, 2, 1, 4], k=364))
SPACE = """
recipe: tiny
fixed: {model.units: 8, training.batch_size: 4, training.sequence_length: 4, training.parts: 2}
search:
  training.optimizer.learning_rate: {float: [1e-4, 1e-1], log: true}
"""
