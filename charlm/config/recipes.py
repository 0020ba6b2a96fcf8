"""Recipes: those that come with charlm, and files of the user."""

from itertools import takewhile
from pathlib import Path

from charlm.errors import CharlmError
from charlm.wording import listed, nearest

YAML_SUFFIXES = {".yaml", ".yml"}
_PACKAGE = Path(__file__).parent.parent


def shipped_folder(name: str) -> Path:
    """Return a folder that comes with charlm: in the package, or next to it in a checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


CONFIGS = shipped_folder("configs")


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with charlm, sorted."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Return the path of a recipe, given its name in configs/ or the path of a YAML file.

    Names in configs/ come first; `./NAME` is a file in the current folder.

    Raises:
        CharlmError: There is no such recipe or file; the message suggests a similar name.

    """
    path = Path(name)
    shipped = CONFIGS / f"{name}.yaml"
    if name == shipped.stem and shipped.is_file():
        return shipped
    if path.is_file():
        if path.suffix and path.suffix not in YAML_SUFFIXES:
            raise CharlmError(f"{name}: not a recipe, whose name ends in .yaml; a text needs no -c")
        return path
    near = nearest(name, recipe_names())
    hint = f"did you mean {near}?" if near else f"expected {listed(recipe_names(), 'or')}"
    raise CharlmError(f"{name}: no such recipe or YAML file; {hint}")


def describe_recipe(name: str) -> str:
    """Return the first paragraph of a recipe's comment as one line: purpose and training time."""
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    after_schema_and_command = lines[2:]
    comment = takewhile(lambda line: line.startswith("# "), after_schema_and_command)
    return " ".join(line.removeprefix("# ") for line in comment)
