"""What becomes of a run: whether it is training, the recipe it is near to, its size on disk and its age."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from charlm.config.file import flatten, load_config
from charlm.config.recipes import find_recipe, recipe_names
from charlm.errors import CharlmError
from charlm.runs.comparison import CORPUS_SHA256, RunSummary, summarize
from charlm.runs.folder import ENDED_FILE, METRICS_FILE
from charlm.runs.metrics import read_step
from charlm.storage.locks import is_held

State = Literal["training", "stopped", "done"]
"""training: a process trains it now; done: it has reached its end; stopped: neither, so that it can be resumed."""
Recipes = Mapping[str, Mapping[str, Any]]
"""Settings by dotted keys, by the names of recipes."""
_OF_NO_RECIPE = {"seed", "training.parts", CORPUS_SHA256}
"""Settings that say nothing about which recipe a run was trained with."""


@dataclass(frozen=True)
class RunStatus:
    """How a run is."""

    summary: RunSummary
    state: State
    step: float | None
    """The last step in the log; None if there is none."""
    recipe: str
    """The recipe that comes with charlm whose settings differ least from those of the run."""
    changed_settings: int
    """The number of settings that differ from that recipe, other than the seed and the parts of a batch."""
    disk_bytes: int
    """The size of all files in the folder; what links lead to is not counted."""
    age_seconds: float
    """The time since the last line of the log."""


def read_status(folder: Path, recipes: Recipes, *, now: Callable[[], float] = time.time) -> RunStatus:
    """Return how the run in a folder is.

    Args:
        folder: The folder of the run.
        recipes: What `shipped_recipes` returns.
        now: Returns the time in seconds since 1970.

    Raises:
        CharlmError: the folder is not a run, or a file of the run is missing, damaged or a link.

    """
    summary = summarize(folder)
    step = read_step(folder / METRICS_FILE)
    try:
        age_seconds, disk_bytes = now() - (folder / METRICS_FILE).stat().st_mtime, _disk_bytes(folder)
    except OSError as error:
        raise CharlmError(f"{error.filename or folder}: cannot be read: {error.strerror}") from None
    changes = {name: _count_changes(summary.settings, settings) for name, settings in recipes.items()}
    recipe = min(changes, key=changes.__getitem__)
    ended: State = "done" if (folder / ENDED_FILE).is_file() else "stopped"
    return RunStatus(
        summary,
        state="training" if is_held(folder) else ended,
        step=step,
        recipe=recipe,
        changed_settings=changes[recipe],
        disk_bytes=disk_bytes,
        age_seconds=max(0.0, age_seconds),
    )


def shipped_recipes() -> Recipes:
    """Return every setting of the recipes that come with charlm."""
    return {name: flatten(load_config(find_recipe(name))) for name in recipe_names()}


def _count_changes(settings: Mapping[str, Any], recipe: Mapping[str, Any]) -> int:
    keys = (settings.keys() | recipe.keys()) - _OF_NO_RECIPE
    return sum((key in settings, settings.get(key)) != (key in recipe, recipe.get(key)) for key in keys)


def _disk_bytes(folder: Path) -> int:
    return sum(os.lstat(Path(place, name)).st_size for place, _, names in os.walk(folder) for name in names)
