"""Training: the loop, its schedule, checkpoints, logs and evaluations, all without TensorFlow."""
