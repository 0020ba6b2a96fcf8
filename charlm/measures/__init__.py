"""Measures of a network and its opponents: n-grams, baselines, estimates, gradients."""
