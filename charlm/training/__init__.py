"""Training: the loop, its schedule, checkpoints, logs and validation. No TensorFlow: an engine takes the steps."""
