"""Settings: what they are (schema), YAML files (file, yaml), recipes, and the page that documents them (reference)."""
