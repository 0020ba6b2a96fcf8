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

from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.schema import Config
from charlm.core.checkpoints import Checkpoints
from charlm.core.engine import Engine
from charlm.core.model_file import TrainedModel, read_model, read_tensors, tensors_sha256
from charlm.events import Event, Note, OnEvent, ignore
from charlm.runs.choosing import Request, choose, new_engine, score_opponent, training_text
from charlm.runs.initial_weights import read_initial_model, read_initial_weights
from charlm.runs.run import Outcome, Run, open_run, write_run
from charlm.runs.session import Session, stop_on_signal
from charlm.runs.soft_targets import open_soft_targets
from charlm.runs.timing import TimeLimit
from charlm.runs.trainer import continue_run, read_corpus, train_run
from charlm.storage import new_folder, only_writer

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
    "training.parts=2",
    "training.steps=50",
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
    engines: FakeEngines

    @property
    def engine(self) -> FakeEngine:
        """The engine that was made first."""
        return self.engines.made[0]

    @property
    def notes(self) -> list[str]:
        """The messages for the user."""
        return [note.message for note in self.of_type(Note)]

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
        """The lines of metrics.jsonl without values of the clock."""
        return [
            {key: value for key, value in line.items() if key not in CLOCK} for line in self.metrics
        ]

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
    last = f"step-{whole.outcome.step}.safetensors"
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
    evaluation_seconds: float = 0.0,
) -> Faults:
    """Return faults that set a clock forward with each step and evaluation.

    Args:
        clock: The clock.
        step_seconds: Returns the time of the step after some others; every call has one step.
        evaluation_seconds: Time to score a network.

    """

    def advance(seconds: float) -> None:
        clock.now += seconds

    return Faults(
        after_call=lambda step: advance(step_seconds(step - 1)),
        evaluation=lambda: advance(evaluation_seconds),
        seconds=lambda step: max(1.0, step_seconds(step - 1)),
    )


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that advances by some seconds each time it is read."""
    ticks = count()
    return lambda: seconds * next(ticks)


def repeatable_files(run: Path) -> dict[str, bytes]:
    """Return the models of a run, and a digest of the tensors of each checkpoint.

    A finished run has no checkpoints unless it keeps all of them.
    """
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
) -> Trained:
    """Train a new run in folder/run with the settings SMALL and these overrides."""
    folder.mkdir()
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8")
    run = begin(folder / "run", *overrides, text=source, init=init)
    return train_begun(run, faults=faults, clock=clock)


def begin(
    folder: Path,
    *overrides: str,
    text: Path,
    init: Path | None = None,
) -> Run:
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
    """Begin a run of a recipe, which has taken no step."""
    request = Request(
        str(recipe), parse_overrides(overrides), None if init is None else read_initial_model(init)
    )
    session = Session(on_event)
    with new_folder(folder) as temporary, only_writer(temporary):
        plan = choose(
            read_corpus([str(text)], request, temporary, session),
            request,
            folder=temporary,
            engines=FakeEngines(),
            session=session,
        )
        write_run(temporary, plan.config, initial=plan.initial)
    return open_run(folder)


def resume(
    folder: Path, *, faults: Faults | None = None, clock: Callable[[], float] = time.perf_counter
) -> Trained:
    """Resume the run in a folder."""
    events: list[Event] = []
    session = Session(events.append, clock=clock)
    engines = FakeEngines(faults or Faults())
    with stop_on_signal(session.interruption):
        outcome = continue_run(folder, engines=engines, session=session)
    return Trained(folder, outcome, events, engines)


def engine_of(run: Run, engines: FakeEngines | None = None) -> Engine:
    """Make the engine of a run."""
    return new_engine(
        run.config,
        run.corpus,
        engines or FakeEngines(),
        initial=read_initial_weights(run),
    )


def checkpoints_of(run: Run, on_event: OnEvent = ignore) -> Checkpoints:
    """Return the checkpoints of a run."""
    return Checkpoints(run.folder, run.config, training_text(run.corpus), on_event)


def train_begun(
    run: Run,
    *,
    faults: Faults | None = None,
    clock: Callable[[], float] = time.perf_counter,
    limit: TimeLimit | None = None,
) -> Trained:
    """Train a run from its newest checkpoint, or from its first step."""
    events: list[Event] = []
    session = Session(events.append, clock=clock)
    engines = FakeEngines(faults or Faults())
    with stop_on_signal(session.interruption), only_writer(run.folder) as lock:
        outcome = train_run(
            run,
            engine_of(run, engines),
            lock=lock,
            session=session,
            ngram=score_opponent(training_text(run.corpus)),
            soft_targets=open_soft_targets(
                run.folder, run.config, run.corpus, on_event=session.on_event
            ),
            limit=limit,
        )
    return Trained(run.folder, outcome, events, engines)
