"""The recipes that come with charlm, by name."""

from pathlib import Path

from charlm.errors import CharlmError, nearest
from charlm.resources import CONFIGS


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with charlm."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Return the file of a recipe, given its name in configs/ or a path to any YAML file.

    Raises CharlmError if there is neither.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    if name in recipe_names():
        return CONFIGS / f"{name}.yaml"
    near = nearest(name, recipe_names())
    hint = f"; did you mean {near}?" if near else f"; there are {', '.join(recipe_names())}"
    raise CharlmError(f"--config {name}: no such recipe or YAML file{hint}")
