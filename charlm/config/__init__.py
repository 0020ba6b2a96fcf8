"""Settings: schema, YAML files, and the recipes that come with charlm."""
