"""The names of the files of a bundle. `charlm.network.bundle` reads and writes them; this module imports no NumPy."""

from pathlib import Path

MODEL, WEIGHTS = "model.json", "weights.safetensors"
VOCABULARY_FILE, CONFIG_FILE = "vocabulary.json", "config.yaml"


def is_bundle(folder: Path) -> bool:
    """Return whether a folder looks like a bundle."""
    return (folder / MODEL).is_file()
