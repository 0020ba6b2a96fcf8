"""A trial: an ordinary run of a recipe with some values, which is evaluated at equal parts of its length.

Some steps of the network are timed before a trial, so that all trials train for the same time. The number of steps that
follows from it is kept in the config of the trial. So a trial can be repeated, which one that ends by the clock cannot,
and its learning rates fall to their end.

Proposing values is left to `charlm.tuning.study`, deciding what comes next to `charlm.tuning.search`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from charlm.config.schema import Config
from charlm.runs.run import begin_run, folder_aside
from charlm.text.corpus import Corpus
from charlm.training import loop
from charlm.training.engine import Engine, EngineFactory
from charlm.training.loop import Outcome, new_engine
from charlm.training.parts import fill_parts
from charlm.training.signals import Session
from charlm.training.timing import STEP_SECONDS, measure
from charlm.tuning.space import Space

EVALUATIONS = 10
"""In a whole trial."""
TIMED_SHARE = 0.05
"""The share of the time of a trial for which steps are timed, at most."""
TimeStep = Callable[[Config, Corpus, Engine, Session, float], float]
"""Returns how long a step takes, from steps that are taken for some seconds and undone."""


def time_step(config: Config, corpus: Corpus, engine: Engine, session: Session, seconds: float) -> float:
    """Return how long a step of a trial takes; a `TimeStep`, which raises as `charlm.training.timing.measure`."""
    return measure(config, corpus, engine, session=session, step_seconds=seconds).step_seconds


def plan_trial(
    space: Space,
    values: Mapping[str, Any],
    corpus: Corpus,
    make_engine: EngineFactory,
    *,
    seconds: float,
    session: Session,
    time_step: TimeStep = time_step,
) -> tuple[dict[str, Any], Engine]:
    """Decide the length of a trial.

    Args:
        space: What is searched.
        values: The values that are tried, by dotted keys.
        corpus: The text.
        make_engine: Makes the engine.
        seconds: How long the trial is to train, without evaluations and start-up.
        session: Of a `stop_on_signal` block.
        time_step: Returns how long a step takes.

    Returns:
        The settings that differ from the recipe, by dotted keys (the values, the length, and the fixed ones), and the
        engine in its first state.

    Raises:
        CharlmError: the values are not valid together, or the engine cannot use them.
        Stopped: a signal came.

    """
    config = _config(space, {**values, **_length(EVALUATIONS)})
    engine = new_engine(config, corpus, make_engine, say=lambda _: None)
    step_seconds = time_step(config, corpus, engine, session, min(STEP_SECONDS, TIMED_SHARE * seconds))
    steps = max(EVALUATIONS, round(seconds / step_seconds))
    return {**space.fixed, **values, **_length(steps)}, engine


def _config(space: Space, settings: Mapping[str, Any]) -> Config:
    """Return the config of a trial; texts are not sampled, since they take time, and nobody reads them."""
    return fill_parts(space.config({**settings, "sampling.length": 0}))


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
    folder: Path, space: Space, settings: Mapping[str, Any], corpus: Corpus, engine: Engine, *, session: Session
) -> Outcome:
    """Train a trial as a new run in a folder.

    Args:
        folder: The folder of the run.
        space: What is searched.
        settings: What `plan_trial` returned, with the engine.
        corpus: The text.
        engine: The engine in its first state.
        session: Ends the run early; nothing is said of it.

    Raises:
        CharlmError: training has diverged, or a file cannot be written.
        Stopped: a signal came before the first step.

    """
    with folder_aside(folder) as aside:
        run = begin_run(folder, _config(space, settings), corpus, aside=aside)
    with session.silent():
        return loop.train(run, engine, resume=False, session=session)
