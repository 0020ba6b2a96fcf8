"""Small runs, trained with the fake engine in a fraction of a second."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fake_engine import FakeEngine, FakeEngines, Faults
from run_folders import read_metrics

from charlm.cli.progress import describe
from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.schema import Config
from charlm.events import Event, OnEvent, ignore
from charlm.network.model_file import TrainedModel, read_model, read_tensors, tensors_sha256
from charlm.runs.initial_weights import read_initial_model, read_initial_weights
from charlm.runs.ownership import own_folder
from charlm.runs.run import Run, open_run
from charlm.training.decision import UserSettings
from charlm.training.interface import Engine
from charlm.training.outcome import Outcome
from charlm.training.preparation import new_engine, prepare
from charlm.training.session import Session
from charlm.training.signals import stop_on_signal
from charlm.training.timing import Deadline
from charlm.training.trainer import own_run, train_run

STEPS_PER_EPOCH = 20
TEXT = "".join(random.Random(0).choices("abcde ", weights=[9, 5, 3, 2, 1, 4], k=364))
"""A text whose training part has 20 windows of 4 characters in 4 streams, and a few more."""
LONG_TEXT = 90 * TEXT
"""A text whose validation part is long enough for a standard error."""
SMALL = [
    "model.units=8",
    "sampling.length=0",
    "training.batch_size=4",
    "training.sequence_length=4",
    "training.shuffle=true",
    "training.parts=2",
    "training.steps=50",
    "training.log_every=5",
    "training.evaluations=5",
]
Kind = TypeVar("Kind", bound=Event)
CLOCK = {"seconds", "characters_per_second"}


@dataclass(frozen=True)
class Trained:
    """A run after training, and the events of the training."""

    folder: Path
    outcome: Outcome
    events: list[Event]
    engine: FakeEngine

    @property
    def said(self) -> list[str]:
        """The lines that the user was told."""
        return [line for event in self.events for line in describe(event)]

    def of_type(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def config(self) -> Config:
        """The settings in config.yaml."""
        return load_config(self.folder / "config.yaml")

    def model(self, name: str) -> TrainedModel:
        """Return a model of the run."""
        return read_model(self.folder / name)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return read_metrics(self.folder)

    @property
    def repeatable_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl without changes of settings and values of the clock."""
        lines = [line for line in self.metrics if line.get("event") != "settings"]
        return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]

    def validation(self) -> dict[int, float]:
        """Return the validation loss in nats per character by step."""
        lines = [line for line in self.metrics if line["split"] == "validation"]
        return {line["step"]: line["nats_per_char"] for line in lines}

    def files(self) -> dict[str, bytes]:
        """Return the files that must not depend on the clock."""
        return repeatable_files(self.folder)


def check_same(run: Trained, expected: Trained) -> None:
    """Check that two runs are equal, except for the time that they took."""
    assert run.repeatable_metrics == expected.repeatable_metrics
    assert run.files() == expected.files()


def check_same_end(resumed: Trained, whole: Trained) -> None:
    """Check that a run that was interrupted has the models and last checkpoint of a whole one."""
    assert resumed.repeatable_metrics == whole.repeatable_metrics
    files = whole.files()
    last = f"step-{whole.outcome.progress.step}.safetensors"
    earlier = {name for name in files if "step-" in name and name != last}
    resumed_files = resumed.files()
    for name in files.keys() - earlier:
        assert resumed_files[name] == files[name], name


def refuse_events(event: Event) -> None:
    """Fail, since no event is expected."""
    pytest.fail(str(event))


@dataclass
class Clock:
    """A clock that stands still until it is set forward."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def timed_steps(
    clock: Clock,
    step_seconds: Callable[[int], float] = lambda _step: 1.0,
    *,
    fault: Faults | None = None,
) -> Faults:
    """Return a fault that sets a clock forward with each step; every call has one step.

    Args:
        clock: The clock.
        step_seconds: Returns the time of the step after some others.
        fault: Another fault after a call.

    """
    taken = [0]

    def after_call(step: int) -> None:
        """Set the clock forward; measuring may have set the engine back to its first step."""
        first = min(taken[0], step - 1)
        taken[0] = step
        clock.now += sum(map(step_seconds, range(first, step)))
        if fault is not None:
            fault.after_call(step)

    return Faults(after_call=after_call, is_slow=True)


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that advances by some seconds each time it is read."""
    ticks = count()
    return lambda: seconds * next(ticks)


def repeatable_files(run: Path) -> dict[str, bytes]:
    """Return the models of a run, and a digest of the tensors of each checkpoint."""
    models = {path.name: path.read_bytes() for path in run.glob("*.safetensors")}
    for path in run.glob("checkpoints/*"):
        _, _, tensors = read_tensors(path)
        models[path.name] = tensors_sha256(tensors).encode()
    return models


def train(
    folder: Path,
    *overrides: str,
    text: str = TEXT,
    init: Path | None = None,
    faults: Faults | None = None,
    clock: Callable[[], float] = time.perf_counter,
    deadline: Deadline | None = None,
) -> Trained:
    """Train a new run in folder/run with the settings SMALL and these overrides."""
    folder.mkdir()
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8")
    run = begin(folder / "run", *overrides, text=source, init=init)
    return train_begun(run, faults=faults, clock=clock, deadline=deadline)


def train_begun(
    run: Run,
    *,
    faults: Faults | None = None,
    clock: Callable[[], float] = time.perf_counter,
    deadline: Deadline | None = None,
) -> Trained:
    """Train a run that has begun and has taken no step."""
    return _train(run, FakeEngines(faults or Faults()), clock=clock, deadline=deadline)


def begin(folder: Path, *overrides: str, text: Path, init: Path | None = None) -> Run:
    """Begin a run with the settings SMALL and these overrides."""
    return begin_run(folder, [*SMALL, *overrides], text=text, init=init)


def begin_run(
    folder: Path,
    overrides: Overrides,
    *,
    text: Path,
    recipe: str | Path = "tiny",
    init: Path | None = None,
    on_event: OnEvent = ignore,
) -> Run:
    """Begin a run of a recipe."""
    with own_folder(folder) as owned:
        prepared = prepare(
            text,
            user=UserSettings(recipe=str(recipe), overrides=parse_overrides(overrides)),
            folder=owned,
            engines=FakeEngines(),
            init=None if init is None else read_initial_model(init),
            session=Session(on_event),
        )
        return prepared.begin(owned)


def resume(
    folder: Path,
    *overrides: str,
    faults: Faults | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Trained:
    """Resume the run in a folder."""
    return _train(
        open_run(folder, overrides=overrides), FakeEngines(faults or Faults()), clock=clock
    )


def engine_of(run: Run, engines: FakeEngines | None = None) -> Engine:
    """Make the engine of a run."""
    return new_engine(run.config, run.corpus, engines or FakeEngines(), session=Session())


def _train(
    run: Run,
    engines: FakeEngines,
    *,
    clock: Callable[[], float],
    deadline: Deadline | None = None,
) -> Trained:
    events: list[Event] = []
    session = Session(events.append, clock=clock)
    with (
        stop_on_signal(session.interruption),
        own_run(run.folder, session=session, may_continue=True),
    ):
        engine = new_engine(
            run.config, run.corpus, engines, initial=read_initial_weights(run), session=session
        )
        outcome = train_run(run, engine, engines, session=session, deadline=deadline)
    return Trained(run.folder, outcome, events, engines.made[0])
