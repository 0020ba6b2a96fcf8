"""The files that come with charlm: recipes, their schema and a search space in configs/, and the default corpus.

`suited_recipe` says which recipe suits a text of a given size.
"""

from dataclasses import dataclass
from itertools import takewhile
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
SCHEMA = CONFIGS / "schema.json"
"""The JSON Schema of a recipe, made by `charlm.config.json_schema`."""
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
    raise CharlmError(f"{name}: no such recipe or YAML file{hint}")


def describe_recipe(name: str) -> str:
    """Return what the recipe of a name is for and how long it takes, as one line: the first paragraph of its head."""
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = takewhile(lambda line: line.startswith("# "), lines[2:])  # after the schema and the command
    return " ".join(line.removeprefix("# ") for line in head)


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


SMALL_TEXT, LARGE_TEXT, VAST_TEXT = 80_000, 500_000, 5_000_000
"""Characters of training text at which `suited_recipe` changes its answer."""


@dataclass(frozen=True)
class RecipeAdvice:
    """A recipe that suits a text, and why."""

    recipe: str
    """A name in configs/."""
    reason: str
    """For the user."""


def suited_recipe(training_characters: int) -> RecipeAdvice:
    """Return the recipe that suits a text of some size, judged by the texts that the recipes were measured on.

    A network of 1 to 4 million weights learns a text of 100,000 characters by heart in a few epochs, so that a small
    text needs dropout and an early end. From about a million characters on, more layers and longer training pay. The
    borders lie between the sizes of the measured texts, 0.1 to 0.3 and 1 million characters.

    Args:
        training_characters: The length of the training text, 0 or more.

    """
    if training_characters < SMALL_TEXT:
        return RecipeAdvice(
            "default",
            "smaller than the texts that it was made for; the run ends early if the network learns the text by heart",
        )
    if training_characters < LARGE_TEXT:
        return RecipeAdvice("default", "its dropouts were chosen for texts of 100,000 to 300,000 characters")
    if training_characters < VAST_TEXT:
        return RecipeAdvice(
            "shakespeare-15m",
            "three layers, Muon and little dropout were chosen for texts of about a million characters; shakespeare "
            "takes a sixth of the time and scores worse, shakespeare-hour three times as long and scores better",
        )
    return RecipeAdvice(
        "shakespeare-hour",
        "the largest network; no recipe was measured on a text of this size, which can hardly be learned by heart, so "
        "give the time instead of the epochs: --minutes 60",
    )
