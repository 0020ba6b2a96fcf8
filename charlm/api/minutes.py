"""How many steps of a run fit into a time, from a few timed steps of the real engine."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from charlm.api.sources import overridden_keys
from charlm.errors import CharlmError
from charlm.hardware import memory_bytes
from charlm.runs.run import Run, discard_run
from charlm.training.engine import Engine, EngineFactory
from charlm.training.signals import Stopped, StopRequest
from charlm.training.soft_targets import open_soft_targets
from charlm.training.stopwatch import Stopwatch
from charlm.training.timing import STEP_SECONDS, rehearse

LENGTH = ("training.epochs", "training.steps")
"""The settings that `minutes` decides."""
TIMED_SHARE = 0.05
"""The share of the minutes in which steps are timed, at most."""


def check_minutes(minutes: float, overrides: Iterable[str] | Mapping[str, Any]) -> None:
    """Check the minutes that a run is to take.

    Args:
        minutes: More than 0.
        overrides: `KEY=VALUE` texts or a mapping of dotted keys; they must leave the length of the run alone.

    Raises:
        CharlmError: the minutes are not a number more than 0, or an override gives the length.

    """
    if not (math.isfinite(minutes) and minutes > 0):
        raise CharlmError(f"--minutes {minutes:g}: must be a number more than 0")
    given = overridden_keys(overrides)
    for key in LENGTH:
        if key in given:
            raise CharlmError(f"--minutes {minutes:g}: decides {key}, which --set gives as well; leave one of them out")


def fit_to_minutes(
    run: Run,
    make_engine: EngineFactory,
    *,
    minutes: float,
    watch: Stopwatch,
    request: StopRequest,
    say: Callable[[str], None],
) -> tuple[Run, EngineFactory]:
    """Give a run the number of steps that fits into a time; its teachers, if it has any, are asked before that.

    Args:
        run: A run that has begun, and has not been trained.
        make_engine: Makes the engine.
        minutes: The time since `watch` was started, more than 0.
        watch: Has measured the start so far; the timing is added.
        request: The stop request of a `stop_on_signal` block.
        say: Called with a line for the user.

    Returns:
        The run with `training.steps` in place of the length that its config gave, and what makes its engine.

    Raises:
        CharlmError: the time is over before the first step, or what `rehearse` raises.
        Stopped: a signal came; the run has been removed.

    """
    try:
        with request.at_once():
            open_soft_targets(run, available_bytes=memory_bytes(), say=say)
        rehearsal = rehearse(
            run.config,
            run.corpus,
            make_engine,
            request=request,
            step_seconds=min(STEP_SECONDS, 60 * minutes * TIMED_SHARE),
        )
    except Stopped:
        discard_run(run)  # the config does not have its length yet
        raise
    watch.lap("timing")
    settings, costs, spent = run.config.training, rehearsal.costs, sum(watch.laps.values())
    steps = costs.steps_within(settings, 60 * minutes - spent)
    if steps == 0:
        needed = spent + costs.run_seconds(settings, 1)
        raise CharlmError(f"--minutes {minutes:g}: the start and one step take {needed / 60:.2g} minutes; give more")
    say(
        f"{minutes:g} minutes: {steps:,} steps of {1000 * costs.step_seconds:.3g} ms, "
        f"{steps / rehearsal.batches.steps_per_epoch:.3g} epochs, in place of the length in the config"
    )
    training = settings.model_copy(update={"steps": steps, "epochs": None})
    fitted = Run(run.folder, run.config.model_copy(update={"training": training}), run.corpus, run.is_new_folder)
    return fitted, _reuse(rehearsal.engine)


def _reuse(engine: Engine) -> EngineFactory:
    """Return a factory that gives away an engine that was made for the same run."""

    def make_engine(*_: Any, **__: Any) -> Engine:
        return engine

    return make_engine
