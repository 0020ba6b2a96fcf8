"""A trial: an ordinary run of a recipe with some values, which is evaluated at equal parts of its length.

Proposing values is left to `charlm.tuning.study`, deciding what comes next to `charlm.tuning.search`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.config.schema import Config
from charlm.runs.folder import is_run
from charlm.runs.run import begin_run, open_run, settle_parts
from charlm.text.corpus import Corpus
from charlm.training import loop
from charlm.training.engine import EngineFactory
from charlm.training.loop import Outcome
from charlm.training.recorder import OnEvaluation
from charlm.training.signals import StopRequest
from charlm.tuning.space import Space

EVALUATIONS = 10
"""In a whole trial."""
LONG_SECONDS = 300.0
"""A trial that trains at least so long is saved at every evaluation, a shorter one twice: saving takes time."""

Say = Callable[[str], None]
SecondsPerStep = Callable[[Config], float]


@dataclass(frozen=True)
class Workplace:
    """What all trials of a search share."""

    space: Space
    corpus: Corpus
    make_engine: EngineFactory
    seconds_per_step: SecondsPerStep
    """Returns how long a step takes in training alone."""
    trial_seconds: float
    """How long a whole trial trains, without evaluations and start-up."""
    request: StopRequest


def plan_trial(place: Workplace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a trial that differ from the recipe, by dotted keys: its values, its length, its pace.

    Args:
        place: What all trials share.
        values: The values that are tried.

    Raises:
        CharlmError: the values are not valid together, or the engine cannot use them.

    """
    seconds = place.seconds_per_step(settle_parts(place.space.config({**values, **_length(EVALUATIONS)})))
    steps = max(EVALUATIONS, round(place.trial_seconds / seconds))
    checkpoints = EVALUATIONS if place.trial_seconds >= LONG_SECONDS else 2
    return {**place.space.fixed, **values, **_length(steps, checkpoints=checkpoints)}


def _length(steps: int, *, checkpoints: int = EVALUATIONS) -> dict[str, Any]:
    every = -(-steps // EVALUATIONS)
    return {
        "training.epochs": None,
        "training.steps": steps,
        "training.max_minutes": None,
        "training.early_stopping": None,
        "training.evaluate_every": every,
        "training.checkpoint_every": every * (EVALUATIONS // checkpoints),
    }


def evaluation_index(step: int, settings: Mapping[str, Any]) -> int:
    """Return which evaluation of a trial comes after a step, 1 to EVALUATIONS; `settings` is from `plan_trial`."""
    return -(-step // int(settings["training.evaluate_every"]))


def train_trial(
    place: Workplace, folder: Path, settings: Mapping[str, Any], *, say: Say, on_evaluation: OnEvaluation
) -> Outcome:
    """Train a trial as a run in a folder, or continue it if it has begun.

    Args:
        place: What all trials share; its request ends the run early.
        folder: The folder of the run.
        settings: What `plan_trial` returned.
        say: Takes the lines of the run.
        on_evaluation: Is called after each evaluation.

    Raises:
        CharlmError: training has diverged for good, the run is damaged, or a file cannot be written.
        Stopped: a signal came before the first step.

    """
    is_begun = is_run(folder)
    if is_begun:
        run = open_run(folder)
    else:
        # no sampled texts: they take time, and nobody reads them
        config = place.space.config({**settings, "sampling.length": 0})
        run = begin_run(folder, config, place.corpus.folder)
    return loop.train(
        run,
        place.make_engine,
        resume=is_begun,
        request=place.request,
        say=say,
        show_progress=False,
        on_evaluation=on_evaluation,
    )
