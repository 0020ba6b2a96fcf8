"""Models and numbers that a network is compared with or described by: n-grams, errors, gradients."""
