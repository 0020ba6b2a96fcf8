"""Export and import: a network as files that other programs read, one module for each format."""
