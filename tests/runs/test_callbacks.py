"""The callbacks of a training, each on its own, and the order in which they are called."""

import math
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TEXT, Clock, begin, engine_of

from charlm.core.checkpoints import LoopState
from charlm.core.evaluating import Evaluation
from charlm.core.loop import Callback, End, Training
from charlm.runs.callbacks import EarlyStopping, TargetLoss
from charlm.runs.choosing import training_text
from charlm.runs.timing import END_SECONDS, TimeLimit


def make_training(folder: Path, *callbacks: Callback) -> Training:
    """Return a training that has not begun."""
    source = folder / "text.txt"
    source.write_text(TEXT, encoding="utf-8")
    run = begin(folder / "run", "training.steps=20", "training.evaluations=2", text=source)
    text = training_text(run.corpus)
    return Training(run.folder, run.config, text, engine_of(run), callbacks)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return make_training(tmp_path)


# The loop calls them


class Recorder(Callback):
    """Notes the methods that are called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *_: self.calls.append(name)
        return super().__getattribute__(name)


def test_callbacks_are_called_in_the_order_of_a_run(tmp_path: Path) -> None:
    """A log entry is every second step, and the first call of the engine has a single step."""
    recorder = Recorder()
    end = make_training(tmp_path, recorder).run()
    assert end == End("all steps", "all steps done")
    logs = 4 * ["on_steps", "on_log"]
    evaluation = ["on_steps", "on_log", "on_evaluation", "on_save", "on_saved"]
    assert recorder.calls == ["on_start", "on_steps", *logs, *evaluation, *logs, *evaluation]


class Ending(Callback):
    """Ends a session at a step."""

    def __init__(self, step: int, end: End) -> None:
        self.step = step
        self.end = end

    def reason_to_end(self, training: Training) -> End | None:
        return self.end if training.state.step >= self.step else None


@pytest.mark.parametrize(
    ("end", "evaluated"),
    [(End("signal", "stop"), -1), (End("loss", "enough"), 4)],
    ids=["a signal", "another reason"],
)
def test_only_a_run_that_has_ended_is_evaluated_at_its_end(
    end: End,
    evaluated: int,
    tmp_path: Path,
) -> None:
    training = make_training(tmp_path, Ending(4, end), Ending(4, End("loss", "too late")))
    assert training.run() == end
    state = training.state
    assert (state.step, training.saved_step, state.evaluated_step) == (4, 4, evaluated)


class Changing(Callback):
    """Changes an evaluated network."""

    def on_evaluation(self, training: Training, evaluation: Evaluation) -> None:
        evaluation.model.parameters.tensors["logits.bias"][...] = 9


def test_a_callback_cannot_change_the_network_that_is_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        make_training(tmp_path, Changing()).run()


# Each on its own


@pytest.mark.parametrize(("evaluations", "ends"), [(1, False), (2, True)])
def test_early_stopping_counts_evaluations(
    evaluations: int,
    ends: bool,
    training: Training,
) -> None:
    training.state = LoopState(evaluations_without_best=evaluations)
    end = End("loss", "no new best in 2 evaluations")
    assert EarlyStopping(2).reason_to_end(training) == (end if ends else None)


@pytest.mark.parametrize(
    ("state", "ends"),
    [
        ({"step": 2, "train_nats": 1.4}, True),
        ({"step": 2, "train_nats": 1.5}, False),
        ({"step": 0, "train_nats": 0.0}, False),
        ({"step": 3, "train_nats": 1.4, "pending_losses": [9.0]}, False),
    ],
    ids=["below", "equal", "before the first step", "between log entries"],
)
def test_a_target_loss_must_be_undercut_at_a_log_entry(
    state: dict[str, Any],
    ends: bool,
    training: Training,
) -> None:
    training.state = LoopState(**state)
    end = End("loss", "the training loss is below 1.5")
    assert TargetLoss(1.5).reason_to_end(training) == (end if ends else None)


@pytest.mark.parametrize(
    ("now", "step_seconds", "evaluation_seconds", "ends"),
    [
        (91.0 - END_SECONDS, 2.0, None, False),
        (91.5 - END_SECONDS, 2.0, None, True),
        (91.0 - END_SECONDS, 2.5, None, True),
        (91.0 - END_SECONDS, 2.0, 8.0, True),
        (97.0 - END_SECONDS, 2.0, 0.5, False),
        (1000.0, math.inf, None, False),
    ],
)
def test_a_time_limit_keeps_time_for_an_evaluation_and_the_end(
    now: float,
    step_seconds: float,
    evaluation_seconds: float | None,
    ends: bool,
    training: Training,
) -> None:
    """Before the first evaluation of the run, its expected time counts: 7 seconds."""
    limit = TimeLimit(1, 100.0, Clock(now), evaluation_seconds=7.0)
    training.step_seconds = step_seconds
    training.evaluation_seconds = evaluation_seconds
    end = End("time limit", "time limit")
    assert limit.reason_to_end(training) == (end if ends else None)
