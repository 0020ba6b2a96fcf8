"""Files that come with charlm: recipes, a text and a model."""

from itertools import takewhile
from pathlib import Path

from charlm.errors import CharlmError
from charlm.storage import near_file_hint
from charlm.wording import listed, nearest

YAML_SUFFIXES = {".yaml", ".yml"}
_PACKAGE = Path(__file__).parent.parent


def _shipped(name: str) -> Path:
    """Return a folder inside the installed package, or next to the package in a checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


CONFIGS = _shipped("configs")
DATA = _shipped("data")
DEFAULT_CORPUS = DATA / "river_plays.txt"


def shipped_models() -> dict[str, Path]:
    """Return the model files that come with charlm by name."""
    return {path.stem: path for path in sorted(DATA.glob("*.safetensors"))}


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with charlm, sorted."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Return the path of a recipe, given its name in configs/ or the path of a YAML file.

    Names in configs/ come first; `./NAME` is a file in the current folder. A path that ends in
    .yaml is returned even if the file is missing, unless a similar file exists.

    Raises:
        CharlmError: There is no such recipe or file; the message suggests a similar name.

    """
    path = Path(name)
    shipped = CONFIGS / f"{name}.yaml"
    if name == shipped.stem and shipped.is_file():
        return shipped
    file_hint = "" if path.exists() else near_file_hint(path, suits=_is_yaml_file, similarity=0.6)
    is_yaml = path.suffix in YAML_SUFFIXES
    if path.is_file() and path.suffix and not is_yaml:
        raise CharlmError(f"{name}: not a recipe, whose name ends in .yaml")
    if path.is_file() or (is_yaml and not file_hint):
        return path
    raise CharlmError(f"{name}: no such recipe or YAML file{_hint(name, file_hint)}")


def _is_yaml_file(path: Path) -> bool:
    return path.suffix in YAML_SUFFIXES and path.is_file()


def _hint(name: str, file_hint: str) -> str:
    """Return the end of a message about an unknown name, with a similar name or all names."""
    names = recipe_names()
    near = None if Path(name).suffix in YAML_SUFFIXES else nearest(name, names)
    if near:
        return f"; did you mean {near}?"
    if file_hint or not names:
        return file_hint
    return f"; charlm comes with {listed(names, 'and')}"


def describe_recipe(name: str) -> str:
    """Return the first paragraph of a recipe's comment as one line: purpose and training time."""
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    after_schema_and_command = lines[2:]
    comment = takewhile(lambda line: line.startswith("# "), after_schema_and_command)
    return " ".join(line.removeprefix("# ") for line in comment)
