"""The files that come with charlm: recipes, their schema and a search space in configs/; in data/ a text and a model.

`suited_recipe` says which recipe suits a text of a given size.
"""

import math
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
DEFAULT_RECIPE = "default"
"""The recipe for the default corpus, and for a text before its size is known."""
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
        CharlmError: `name` is neither a recipe nor a file; the message names the nearest recipe.

    """
    path, shipped = Path(name), CONFIGS / f"{name}.yaml"
    if name == shipped.stem and shipped.is_file():
        return shipped
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    near = nearest(name, recipe_names())
    hint = f"; did you mean {near}?" if near else f"; the recipes are {', '.join(recipe_names())}"
    raise CharlmError(f"{name}: no such recipe or YAML file{hint}")


def describe_recipe(name: str) -> str:
    """Return what the recipe of a name is for and how long it takes, as one line: the first paragraph of its head."""
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = takewhile(lambda line: line.startswith("# "), lines[2:])  # after the schema and the command
    return " ".join(line.removeprefix("# ") for line in head)


@dataclass(frozen=True)
class RecipeAdvice:
    """A recipe that suits a text, and why."""

    recipe: str
    """A name in configs/."""
    reason: str
    """For the user."""
    minutes: float | None = None
    """How long to train in place of the length in the recipe; None = as the recipe says."""
    better: str | None = None
    """A recipe that scores better and takes longer, or None."""
    times: float = 1.0
    """How many times as long that takes, roughly."""

    @property
    def options(self) -> str:
        """What stands for the advice on a command line."""
        minutes = "" if self.minutes is None else f" --minutes {self.minutes:g}"
        return f"-c {self.recipe}{minutes}"


SUITED = {
    60_000: RecipeAdvice("small", "so little text is soon learnt by heart: n-grams teach a narrow network"),
    500_000: RecipeAdvice("default", "dropout and n-grams keep it from learning such a text by heart"),
    2_000_000: RecipeAdvice(
        *("shakespeare", "four narrow layers learn a text of about a million characters in minutes"),
        better="shakespeare-15m",
        times=6,
    ),
    math.inf: RecipeAdvice("5mb", "so long a text is hardly memorised: wide layers, no dropout", minutes=10),
}
"""What suits a text of fewer characters of training text than the first number. A training that nobody has asked for by
name takes 10 minutes at most, give or take the machine."""


def suited_recipe(training_characters: int) -> RecipeAdvice:
    """Return the recipe that suits a text of some size, judged by the texts that the recipes were measured on.

    A network of 1 to 4 million weights memorises a text of 100,000 characters in a few epochs, so that a small
    text needs dropout and n-grams that teach. From about a million characters on, more layers and longer training
    pay. The borders lie between the sizes of the measured texts: 0.02 to 0.04, 0.08 to 0.3, 1 and 5 million characters.

    Args:
        training_characters: The length of the training text, 0 or more.

    """
    return next(advice for limit, advice in SUITED.items() if training_characters < limit)


def smaller_recipe(name: str | None) -> str | None:
    """Return which recipe suits the next smaller texts, given one that `suited_recipe` names; None = there is none."""
    names = [advice.recipe for advice in SUITED.values()]
    return names[names.index(name) - 1] if name in names[1:] else None
