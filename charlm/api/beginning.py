"""Beginning a run, with the recipe that suits its text if none is named."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charlm.api.minutes import LENGTH
from charlm.api.sources import Overrides, Text, as_several, as_sources, overridden_keys, settle_cards
from charlm.config.file import load_config
from charlm.config.recipes import DEFAULT_RECIPE, RecipeAdvice, find_recipe, suited_recipe
from charlm.runs.folder import new_folder
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
    show_progress: bool,
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
        show_progress: Whether to show a bar on standard error while the text is tokenized.

    Raises:
        CharlmError: a key or a value is not right, there is no graphics card for `training.device: gpu`, the text
            cannot be read, or the folder cannot be written.
        Stopped: a signal came while TensorFlow started to look for graphics cards.

    """
    path, given = find_recipe(str(recipe or DEFAULT_RECIPE)), as_several(overrides)
    first_folder = new_folder(path.stem) if folder is None else folder
    config = load_config(path, overrides=given)
    parts = config.training.parts
    run = begin_run(first_folder, settle_cards(config, request), *as_sources(text), progress=show_progress)
    start, end = run.corpus.splits["train"]
    advice = suited_recipe(end - start)
    if recipe is not None or text is None:
        return Beginning(run, advice, is_advised=False, minutes=minutes, parts=parts)
    try:
        run = _follow(advice, run, given, request)
        if folder is None and advice.recipe != path.stem:
            run = move_run(run, new_folder(advice.recipe))
    except Exception:
        discard_run(run)
        raise
    if minutes is None and not overridden_keys(given) & {*LENGTH}:
        minutes = advice.minutes
    return Beginning(run, advice, is_advised=True, minutes=minutes, parts=parts)


def _follow(advice: RecipeAdvice, run: Run, given: list[str] | Mapping[str, Any], request: StopRequest) -> Run:
    """Return a run that has begun with the recipe of the advice; what the user has given still counts."""
    if isinstance(given, Mapping):
        overrides: list[str] | Mapping[str, Any] = {**advice.settings, **given}
    else:
        overrides = [*(f"{key}={value}" for key, value in advice.settings.items()), *given]
    config = settle_parts(settle_cards(load_config(find_recipe(advice.recipe), overrides=overrides), request))
    config = config.model_copy(update={"corpus": run.config.corpus})
    write_config(run.folder, config)
    return replace(run, config=config)
