"""The files that come with charlm: recipes, a schema and a search space in configs/; a text and a model in data/."""

from itertools import takewhile
from pathlib import Path

from charlm.errors import CharlmError
from charlm.storage import near_file_hint
from charlm.wording import nearest

_PACKAGE = Path(__file__).parent.parent


def _shipped(name: str) -> Path:
    """Return a folder inside the installed package, or beside the package in a source checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


CONFIGS = _shipped("configs")
SPACE = "space"
"""The name of the file in configs/ that is not a recipe, but what `charlm tune` searches."""
DATA = _shipped("data")
DEFAULT_CORPUS = DATA / "river_plays.txt"


def shipped_models() -> dict[str, Path]:
    """Return the model files that come with charlm by their names."""
    return {path.stem: path for path in sorted(DATA.glob("*.safetensors"))}


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with charlm, sorted."""
    return sorted({path.stem for path in CONFIGS.glob("*.yaml")} - {SPACE})


def find_recipe(name: str) -> Path:
    """Return the file of a recipe or a search space, given its name in configs/ or the path of any YAML file.

    A name in configs/ comes first: a file of that name in the current folder is `./NAME`.

    Raises:
        CharlmError: `name` is neither a recipe nor a file; the message names the nearest recipe or file. A path that
            ends in .yaml and is similar to no file is returned.

    """
    path, shipped = Path(name), CONFIGS / f"{name}.yaml"
    if name == shipped.stem and shipped.is_file():
        return shipped
    file_hint = "" if path.exists() else near_file_hint(path)
    is_yaml = path.suffix in {".yaml", ".yml"}
    if path.is_file() or (is_yaml and not file_hint):
        return path
    near = None if is_yaml else nearest(name, [*recipe_names(), SPACE])
    hint = f"; did you mean {near}?" if near else file_hint
    names = ", ".join(recipe_names())
    raise CharlmError(f"{name}: no such recipe or YAML file{hint or f'; the recipes are {names}'}")


def describe_recipe(name: str) -> str:
    """Return the first paragraph of the head of a recipe as one line: its purpose, and its time on a named machine."""
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = takewhile(lambda line: line.startswith("# "), lines[2:])  # after the schema and the command
    return " ".join(line.removeprefix("# ") for line in head)
