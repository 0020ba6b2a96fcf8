"""How a text becomes a model, and a model becomes text.

The order for reading: vocabulary, batches, architecture, rnn, reading, sampler, generation,
model_file, scoring, schedule, engine, evaluating, checkpoints, loop. The folder of a run has the
files that are named here; the core knows of no others.
"""

SUFFIX = ".safetensors"
"""Suffix of every model file."""
BEST = f"best{SUFFIX}"
"""The model with the lowest loss on the validation text, or without one on the training text."""
LAST = f"last{SUFFIX}"
"""The model of the newest checkpoint."""
CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints."""
