"""The files that come with charlm: recipes, a schema and a search space in configs/; a text and a model in data/."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from charlm.errors import CharlmError
from charlm.storage import near_file_hint
from charlm.wording import listed, nearest

YAML_SUFFIXES = {".yaml", ".yml"}
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
    """Return the file of a recipe, given its name in configs/ or the path of any YAML file.

    A name in configs/ comes first: a file of that name in the current folder is `./NAME`.

    Raises:
        CharlmError: `name` is neither a recipe nor a file; the message names the nearest recipe or YAML file. A path
            that ends in .yaml and is similar to no YAML file is returned.

    """
    return _find(name, kind="recipe", names=recipe_names())


def find_space(name: str) -> Path:
    """Return the file of a search space, given its name in configs/ or its path; as `find_recipe`."""
    return _find(name, kind="search space", names=[SPACE])


def _find(name: str, *, kind: str, names: Sequence[str]) -> Path:
    """Return a file in configs/ or the YAML file at a path; `names` are those in configs/ that are of this kind."""
    path, shipped = Path(name), CONFIGS / f"{name}.yaml"
    if name == shipped.stem and shipped.is_file():
        return shipped
    file_hint = "" if path.exists() else near_file_hint(path, suits=_is_yaml_file)
    is_yaml = path.suffix in YAML_SUFFIXES
    if path.is_file() or (is_yaml and not file_hint):
        return path
    raise CharlmError(f"{name}: no such {kind} or YAML file{_hint(name, names, file_hint)}")


def _is_yaml_file(path: Path) -> bool:
    return path.suffix in YAML_SUFFIXES and path.is_file()


def _hint(name: str, names: Sequence[str], file_hint: str) -> str:
    """Return the end of a message about an unknown name: a similar one, or else a similar file, or else all names."""
    near = None if Path(name).suffix in YAML_SUFFIXES else nearest(name, names)
    if near:
        return f"; did you mean {near}?"
    return file_hint or f"; charlm comes with {listed(names, 'and')}"


def describe_recipe(name: str) -> str:
    """Return the first paragraph of the head of a recipe as one line: its purpose, and its time on a named machine."""
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = takewhile(
        lambda line: line.startswith("# "), lines[2:]
    )  # after the schema and the command
    return " ".join(line.removeprefix("# ") for line in head)
