"""Beginning a run, with the recipe that suits its text if none is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charlm.api.minutes import LENGTH
from charlm.api.sources import Overrides, Text, as_several, as_sources, overridden_keys, settle_cards
from charlm.config.recipes import DEFAULT_RECIPE, RecipeAdvice, find_recipe, suited_recipe
from charlm.runs.folder import new_folder
from charlm.runs.initial import Parent, load_run_config, settle_first_weights
from charlm.runs.run import Run, begin_run, discard_run, move_run, settle_parts, write_config
from charlm.training.signals import StopRequest


@dataclass(frozen=True)
class Beginning:
    """A run that has begun."""

    run: Run
    advice: RecipeAdvice
    """What suits a text of its size."""
    is_advised: bool
    """Whether the run follows the advice, because no recipe was named."""
    minutes: float | None
    """How long the run is to take; None = as long as its config says."""
    parts: int | None
    """`training.parts` as it was given; None = left to the machine."""


def begin(
    text: Text,
    *,
    recipe: str | Path | None,
    overrides: Overrides,
    minutes: float | None,
    folder: Path | None,
    request: StopRequest,
    parent: Parent | None = None,
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
) -> Beginning:
    """Begin a run. The size of its text is known only then, so that a recipe that suits it replaces the first one.

    Args:
        text: As for `charlm.train`.
        recipe: A name in configs/, or a YAML file; None = the recipe that suits the text, for the plays that come with
            charlm `default`.
        overrides: Values that replace those of the recipe.
        minutes: How long the run is to take; None = as long as the recipe or the advice says.
        folder: The folder of the run; None = a new one under runs/, named by the time and the recipe.
        request: The stop request of a `stop_on_signal` block.
        parent: The model whose weights the run begins with, and which decides the shape of the network; None = random
            weights.
        say: Takes a line for the user.
        show_progress: Whether to show a bar on standard error while the text is tokenized.

    Raises:
        CharlmError: a key or a value is not right, there is no graphics card for `training.device: gpu`, the parent
            does not fit the overrides or the text, the text cannot be read, or the folder cannot be written.
        Stopped: a signal came while TensorFlow started to look for graphics cards.

    """
    path, given = find_recipe(str(recipe or DEFAULT_RECIPE)), as_several(overrides)
    first_folder = new_folder(path.stem) if folder is None else folder
    config = load_run_config(path, parent, overrides=given)
    parts = config.training.parts
    config = settle_cards(config, request)
    run = begin_run(first_folder, config, *as_sources(text), parent=parent, say=say, progress=show_progress)
    start, end = run.corpus.splits["train"]
    advice = suited_recipe(end - start)
    if recipe is not None or text is None:
        return Beginning(run, advice, is_advised=False, minutes=minutes, parts=parts)
    try:
        run = _follow(advice, run, given, parent=parent, request=request)
        if folder is None and advice.recipe != path.stem:
            run = move_run(run, new_folder(advice.recipe))
    except Exception:
        discard_run(run)
        raise
    if minutes is None and not overridden_keys(given) & {*LENGTH}:
        minutes = advice.minutes
    return Beginning(run, advice, is_advised=True, minutes=minutes, parts=parts)


def _follow(
    advice: RecipeAdvice,
    run: Run,
    given: list[str] | Mapping[str, Any],
    *,
    parent: Parent | None,
    request: StopRequest,
) -> Run:
    """Return a run that has begun with the recipe of the advice; what the user and the parent decide still counts."""
    config = load_run_config(find_recipe(advice.recipe), parent, overrides=given)
    config = settle_first_weights(settle_parts(settle_cards(config, request)), parent)
    config = config.model_copy(update={"corpus": run.config.corpus})
    write_config(run.folder, config)
    return replace(run, config=config)
