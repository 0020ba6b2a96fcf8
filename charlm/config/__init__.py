"""Settings: what they are (schema), YAML files (file, yaml), and the recipes that come with charlm."""
