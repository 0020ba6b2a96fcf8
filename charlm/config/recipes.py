"""The files that come with charlm: the recipes and a search space in configs/, by name, and the default corpus."""

from pathlib import Path

from charlm.errors import CharlmError, nearest

_PACKAGE = Path(__file__).parent.parent


def _shipped(name: str) -> Path:
    """Return a folder inside the installed package, or beside the package in a source checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


CONFIGS = _shipped("configs")
SPACE = "space"
"""The name of the file in configs/ that is not a recipe, but what `charlm tune` searches."""
DEFAULT_CORPUS = _shipped("data") / "river_plays.txt"


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with charlm, sorted."""
    return sorted({path.stem for path in CONFIGS.glob("*.yaml")} - {SPACE})


def find_recipe(name: str) -> Path:
    """Return the file of a recipe, given its name in configs/ or the path of any YAML file.

    Raises:
        CharlmError: `name` is neither a recipe nor a file; the message names the nearest recipe.

    """
    path = Path(name)
    if _is_file_name(path):
        return path
    if name in recipe_names():
        return CONFIGS / f"{name}.yaml"
    near = nearest(name, recipe_names())
    hint = f"; did you mean {near}?" if near else f"; the recipes are {', '.join(recipe_names())}"
    raise CharlmError(f"--config {name}: no such recipe or YAML file{hint}")


def find_space(name: str) -> Path:
    """Return the file of a search space, given the path of a YAML file, or the name of the one that comes with charlm.

    Raises:
        CharlmError: `name` is neither.

    """
    path = Path(name)
    if _is_file_name(path):
        return path
    if name == SPACE:
        return CONFIGS / f"{SPACE}.yaml"
    raise CharlmError(f"{name}: no such YAML file; {SPACE} is the search space that comes with charlm")


def _is_file_name(path: Path) -> bool:
    return path.suffix in {".yaml", ".yml"} or path.is_file()
