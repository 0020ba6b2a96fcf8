"""`charlm tune`: a search over recipes. Its trials are runs; Optuna proposes them and stops the hopeless ones."""
