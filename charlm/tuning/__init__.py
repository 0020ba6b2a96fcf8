"""`charlm tune`: a search over recipes. Its trials are runs; Optuna proposes them and ends the hopeless ones."""
