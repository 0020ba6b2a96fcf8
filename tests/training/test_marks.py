"""Which windows the steps of a run read, how they are grouped into calls, and what counts as diverged."""

import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from corpora import make_corpus
from fake_engine import FakeEngine, Faults
from fake_runs import resume, train
from numpy.typing import NDArray

from charlm.config.schema import Config, TrainingConfig
from charlm.runs.run import Run
from charlm.text.batches import Batches
from charlm.training import checkpoints
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import DivergenceError, open_text
from charlm.training.events import RunLog
from charlm.training.interface import StepMetrics
from charlm.training.marks import Training
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session

# A run that diverges


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (Faults(loss=lambda step, _: math.nan if step == 25 else None), "the loss is nan .* at step 25: training has"),
        (Faults(loss=lambda step, _: math.inf if step == 25 else None), "the loss is inf .* at step 25: training has"),
        (Faults(state=lambda step: math.inf if step >= 20 else 0.0), "not every weight is finite at step 20"),
        (Faults(weights=lambda step: math.nan if step >= 20 else 1.0), "not every weight is finite at step 20"),
    ],
)
def test_a_run_that_diverges_ends_with_advice_and_a_whole_checkpoint_before_it(
    faults: Faults, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DivergenceError, match=rf"^{message}.* lower training\.optimizer\.learning_rate"):
        train(tmp_path / "run", faults=faults)
    kept = checkpoints.restore(tmp_path / "run/run/checkpoints", warn=pytest.fail)
    assert kept.facts.progress.step in {10, 20}
    assert all(np.isfinite(tensor).all() for tensor in kept.tensors.values())
    resumed = resume(tmp_path / "run/run", "training.optimizer.learning_rate=1e-3")
    assert resumed.outcome.reason == "all steps done"


STEPS_PER_EPOCH = 8
TEXT = "abc" * 21 + "ab"
IDS = np.array(["abc".index(character) for character in TEXT])
BATCHES = Batches(length=2 * 4 * STEPS_PER_EPOCH + 1, batch_size=2, sequence_length=4, seed=0)


class RecordingEngine(FakeEngine):
    """Keeps the arguments of its calls, and reports a loss of 1.5 and the given time for each step."""

    def __init__(self, seconds_per_step: float) -> None:
        super().__init__(Config(), BATCHES, vocabulary_size=3, faults=Faults())
        self.seconds_per_step, self.calls = seconds_per_step, list[dict[str, Any]]()

    def take_steps(self, windows: NDArray[np.int32], rates: NDArray[np.float32], **options: Any) -> StepMetrics:
        self.calls.append({"windows": windows, **options})
        return StepMetrics([1.5] * len(windows), [2.0] * len(windows), self.seconds_per_step * len(windows))


def take_calls(
    folder: Path,
    progress: Progress,
    until: int,
    *,
    seconds_per_step: float = 1e-6,
    soft_targets: NDArray[np.float16] | None = None,
) -> list[dict[str, Any]]:
    """Take steps until a step, of 100 in which nothing else happens; return the calls of the engine."""
    config = TrainingConfig(steps=100, log_every=100, evaluations=1)
    run = Run(folder / "run", Config(training=config), make_corpus(folder, TEXT, validation_fraction=0))
    engine, schedule, log = RecordingEngine(seconds_per_step), make_schedule(config, BATCHES), Mock(spec=RunLog)
    training = Training(run, engine, schedule, Session(), open_text(run), soft_targets, log, progress)
    while progress.step < until:
        count = training.next_count(step_seconds=seconds_per_step if progress.seconds else math.inf)
        assert training.take_steps(count) == [1.5] * count
    return engine.calls


def test_slow_steps_get_shorter_calls_and_are_counted_in_the_progress(tmp_path: Path) -> None:
    progress = Progress()
    calls = take_calls(tmp_path, progress, 3, seconds_per_step=0.25)
    assert [len(call["windows"]) for call in calls] == [1, 2]
    assert (progress.step, progress.seconds, progress.last_norm) == (3, 0.75, 2.0)
    assert progress.pending_losses == [1.5] * 3


def test_calls_read_the_batches_in_order_and_only_the_first_of_an_epoch_starts_from_the_zero_state(
    tmp_path: Path,
) -> None:
    calls = take_calls(tmp_path, Progress(), 2 * STEPS_PER_EPOCH)
    expected = [IDS[BATCHES.positions(epoch=epoch, first=0, count=STEPS_PER_EPOCH)] for epoch in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([call["windows"] for call in calls]), np.concatenate(expected))
    starts = np.cumsum([0, *(len(call["windows"]) for call in calls)])
    resets = [start for start, call in zip(starts.tolist(), calls, strict=False) if call["reset_state"]]
    assert resets == [0, STEPS_PER_EPOCH]


def test_each_character_is_learnt_with_the_soft_targets_of_its_own_position(tmp_path: Path) -> None:
    (call,) = take_calls(tmp_path, Progress(step=5), 6, soft_targets=np.eye(3, dtype=np.float16)[IDS[1:]])
    np.testing.assert_array_equal(call["soft_targets"].argmax(-1), call["windows"][:, 1:])
