"""What a network is compared with or described by: n-grams, estimates with errors, gradients."""
