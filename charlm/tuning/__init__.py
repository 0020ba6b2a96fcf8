"""`charlm tune`: a search for recipes, with Optuna over runs."""
