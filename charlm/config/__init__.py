"""Settings: what they are (schema), what is wrong with them (validation), YAML (file, yaml), and recipes."""
