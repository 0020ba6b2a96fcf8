"""A trial: an ordinary run of a recipe with some values, which is evaluated at equal parts of its length.

How long a step takes is measured before a trial, so that all trials train for the same time. The number of steps that
follows from it is kept in the config of the trial. So a trial can be repeated, which one that ends by the clock cannot,
and its learning rates fall to their end.

Proposing values is left to `charlm.tuning.study`, deciding what comes next to `charlm.tuning.search`.

Axes: K steps in one call.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charlm.config.file import flatten
from charlm.config.schema import Config
from charlm.runs.run import begin_run, folder_aside
from charlm.text.batches import fit_batches
from charlm.text.corpus import Corpus
from charlm.training import loop
from charlm.training.engine import EngineFactory
from charlm.training.loop import Outcome, new_engine
from charlm.training.parts import fill_parts
from charlm.training.recorder import OnEvaluation
from charlm.training.signals import StopRequest
from charlm.tuning.space import Space

EVALUATIONS = 10
"""In a whole trial."""
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
    seconds = place.seconds_per_step(fill_parts(place.space.config({**values, **_length(EVALUATIONS)})))
    steps = max(EVALUATIONS, round(place.trial_seconds / seconds))
    return {**place.space.fixed, **values, **_length(steps)}


def _length(steps: int) -> dict[str, Any]:
    """Return the settings of a run of some steps: evaluated at equal parts of it, and saved once, at its end."""
    every = -(-steps // EVALUATIONS)
    return {
        "training.epochs": None,
        "training.steps": steps,
        "training.early_stopping": None,
        "training.evaluate_every": every,
        "training.checkpoint_every": steps,
    }


def evaluation_index(step: int, settings: Mapping[str, Any]) -> int:
    """Return which evaluation of a trial comes after a step, 1 to EVALUATIONS; `settings` is from `plan_trial`."""
    return -(-step // int(settings["training.evaluate_every"]))


def train_trial(
    place: Workplace, folder: Path, settings: Mapping[str, Any], *, say: Say, on_evaluation: OnEvaluation
) -> Outcome:
    """Train a trial as a new run in a folder.

    Args:
        place: What all trials share; its request ends the run early.
        folder: The folder of the run.
        settings: What `plan_trial` returned.
        say: Takes the lines of the run.
        on_evaluation: Is called after each evaluation.

    Raises:
        CharlmError: training has diverged, or a file cannot be written.
        Stopped: a signal came before the first step.

    """
    # sampled texts take time, and nobody reads them
    config = fill_parts(place.space.config({**settings, "sampling.length": 0}))
    engine = new_engine(config, place.corpus, place.make_engine, say=say)
    with folder_aside(folder) as aside:
        run = begin_run(folder, config, place.corpus, aside=aside)
    return loop.train(
        run,
        engine,
        resume=False,
        request=place.request,
        say=say,
        show_progress=False,
        on_evaluation=on_evaluation,
    )


CALLS, SECONDS = 3, 1.0
"""At least so many calls are timed, for at least so long."""


class StepTimer:
    """Measures how long a step takes, once for all configs whose steps take equally long.

    Args:
        corpus: The text.
        make_engine: Makes the engine, which computes the steps.

    """

    def __init__(self, corpus: Corpus, make_engine: EngineFactory) -> None:
        self._corpus, self._make_engine = corpus, make_engine
        self._known: dict[tuple[tuple[str, Any], ...], float] = {}

    def seconds_per_step(self, config: Config) -> float:
        """Return how long a step takes in training alone.

        Args:
            config: Every setting; `training.parts` is a number.

        Raises:
            CharlmError: the text is too short, or the engine does not have something that the config names.

        """
        key = speed_key(config)
        if key not in self._known:
            self._known[key] = self._measure(config)
        return self._known[key]

    def _measure(self, config: Config) -> float:
        settings = config.training
        ids = self._corpus.split("train", check=False)
        batches, _ = fit_batches(
            len(ids), batch_size=settings.batch_size, sequence_length=settings.sequence_length, seed=config.seed
        )
        engine = new_engine(config, self._corpus, self._make_engine, say=lambda _: None)
        engine.build()
        count = min(settings.steps_per_call, batches.steps_per_epoch)
        windows = batches.windows(ids, epoch=0, first=0, count=count)  # [K, T + 1, B]
        self._corpus.check_ids(windows)
        rates = np.zeros(count, np.float32)
        engine.take_steps(windows, rates, reset_state=True)  # the first call is slower
        taken: list[float] = []
        while len(taken) < CALLS or (sum(taken) < SECONDS and len(taken) < 100):
            taken.append(engine.take_steps(windows, rates, reset_state=False).seconds)
        return max(statistics.median(taken) / count, 1e-6)


def speed_key(config: Config) -> tuple[tuple[str, Any], ...]:
    """Return what decides how long a step takes: every setting, of a number with a fraction only whether it is 0."""
    settings = flatten(config)
    ignored = ("seed", "training.steps", "training.schedule.", "training.evaluate_every", "training.checkpoint_every")
    return tuple(
        (key, bool(value) if isinstance(value, float) else str(value))
        for key, value in settings.items()
        if not key.startswith(ignored)
    )
