"""What counts as diverged, which checkpoint training rolls back to, and what it keeps."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
from fake_engine import Faults, crash_after, interrupt_after
from fake_runs import Trained, resume, train

from charlm.config.schema import DivergenceConfig
from charlm.errors import CharlmError
from charlm.training import checkpoints, divergence
from charlm.training.divergence import DivergenceError, rate_scale, rollback_step
from charlm.training.progress import Progress

SETTINGS = DivergenceConfig(tolerance_nats=1.0, patience_steps=2, rate_factor=0.5)
RATE = 2e-3
CONSTANT = ("training.schedule.name=constant", f"training.optimizer.learning_rate={RATE}")


def check(*losses: float, settings: DivergenceConfig = SETTINGS, progress: Progress | None = None) -> Progress:
    """Check losses in a single call, after those in `progress` if it is given."""
    progress = progress or Progress()
    divergence.check_steps([(loss, 1.0) for loss in losses], first=progress.step, progress=progress, settings=settings)
    progress.step += len(losses)
    return progress


def rolled_back(*steps: int) -> Progress:
    return Progress(rollbacks=[{"step": step} for step in steps])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_counts_as_diverged(loss: float) -> None:
    with pytest.raises(DivergenceError, match=f"^the loss is {loss} and the gradient norm 1.0 at step 2$") as found:
        check(3.0, loss, 3.0)
    assert (found.value.step, found.value.loss_nats) == (2, None)


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_norm_that_is_not_finite_counts_as_diverged(norm: float) -> None:
    with pytest.raises(DivergenceError, match=f"the gradient norm {norm} at step 8"):
        divergence.check_steps([(3.0, norm)], first=7, progress=Progress(), settings=SETTINGS)


def test_a_mean_loss_far_above_the_lowest_counts_as_diverged() -> None:
    with pytest.raises(DivergenceError, match=r"2\.600 in the 2 steps before step 6, and was 1\.500") as found:
        check(2.0, 2.0, 1.0, 2.0, 2.5, 2.7)
    assert found.value.step == 6
    assert found.value.loss_nats == pytest.approx(2.6)


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param((1.0, 1.0, 5.0, -2.0), id="a peak that passes"),
        pytest.param((1.0, 1.0, 2.0, 2.0), id="a loss exactly at the tolerance"),
        pytest.param((9.0, 9.0, 1.0, 1.0), id="a high loss at the start"),
        pytest.param((1.0, 1.0, 9.0), id="a high loss for less than the patience"),
    ],
)
def test_training_has_not_diverged_with(losses: tuple[float, ...]) -> None:
    check(*losses)


def test_the_result_does_not_depend_on_how_losses_are_grouped_into_calls() -> None:
    progress = check(1.0)
    for loss in (1.0, 9.0):
        check(loss, progress=progress)
    with pytest.raises(DivergenceError, match="before step 4"):
        check(9.0, progress=progress)


def test_without_a_tolerance_any_finite_loss_is_accepted() -> None:
    check(1.0, 1.0, 99.0, 99.0, settings=SETTINGS.model_copy(update={"tolerance_nats": None}))


def test_every_rollback_lowers_the_learning_rates() -> None:
    assert [rate_scale(rolled_back(*[0] * count), SETTINGS) for count in range(4)] == [1.0, 0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("saved", "progress", "step"),
    [
        pytest.param([30, 20, 10], rolled_back(), 30, id="the newest checkpoint"),
        pytest.param([33, 30, 20], rolled_back(), 30, id="not a checkpoint outside the period"),
        pytest.param([33, 21], rolled_back(), 33, id="a checkpoint outside the period if there is no other"),
        pytest.param([30, 20, 10], rolled_back(20), 30, id="the newest if it was saved after the last rollback"),
        pytest.param([30, 20, 10], rolled_back(30), 20, id="the one before it if the newest was tried"),
        pytest.param([0], rolled_back(0), 0, id="the first again if there is no other"),
    ],
)
def test_training_rolls_back_to(saved: list[int], progress: Progress, step: int) -> None:
    assert rollback_step(saved, period=10, progress=progress) == step


def test_a_rollback_keeps_the_best_score_and_all_rollbacks() -> None:
    earlier, restored = rolled_back(30, 20), rolled_back(30)
    earlier.best_nats, earlier.best_step, restored.step = 1.5, 37, 10
    diverged = DivergenceError("the loss is high", step=38, loss_nats=4.0)
    new = divergence.carry_over(diverged, earlier=earlier, restored=restored, settings=SETTINGS)
    assert (restored.best_nats, restored.best_step) == (1.5, 37)
    assert [record["step"] for record in restored.rollbacks] == [30, 20, 10]
    assert [record["step"] for record in new] == [20, 10]
    assert new[-1] == {
        "event": "rollback",
        "step": 10,
        "split": None,
        "nats_per_char": 4.0,
        "from_step": 38,
        "rate_scale": 0.125,
        "reason": "the loss is high",
    }


# Rollbacks of a run


def diverge_at(step: int, *, loss: float = math.nan, above: float = 0.5, until: int | None = None) -> Faults:
    """Let steps report another loss while the learning rate is above a fraction of RATE."""
    return Faults(
        loss=lambda taken, rate: loss if rate > 1.01 * above * RATE and step <= taken <= (until or step) else None
    )


def rollbacks(trained: Trained) -> list[tuple[int, int, float]]:
    """Return (the step of divergence, the step rolled back to, the factor of the learning rates) of each rollback."""
    lines = [line for line in trained.metrics if line.get("event") == "rollback"]
    return [(line["from_step"], line["step"], line["rate_scale"]) for line in lines]


def test_a_loss_that_is_not_a_number_rolls_training_back_and_lowers_the_rate(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", *CONSTANT, faults=diverge_at(25))
    assert trained.outcome.reason == "all steps done"
    assert rollbacks(trained) == [(25, 20, 0.5)]
    assert any(
        "nan" in line and "continuing from step 20 with the learning rate times 0.5" in line for line in trained.said
    )
    rates = {line["step"]: line["learning_rate"] for line in trained.metrics if line["split"] == "train"}
    assert [*rates] == [*range(5, 51, 5)]
    assert [rates[step] / RATE for step in (15, 20, 25, 50)] == pytest.approx([1, 1, 0.5, 0.5])


def test_a_loss_far_above_the_lowest_rolls_training_back(tmp_path: Path) -> None:
    faults = diverge_at(21, loss=9.0, until=30)
    trained = train(tmp_path / "run", *CONSTANT, "training.divergence.patience_steps=5", faults=faults)
    assert rollbacks(trained) == [(25, 20, 0.5)]
    assert trained.metrics[-1]["step"] == 50


def test_training_that_diverges_again_rolls_back_further(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", *CONSTANT, faults=diverge_at(25, above=0.25))
    assert rollbacks(trained) == [(25, 20, 0.5), (25, 10, 0.25)]


DIVERGES = diverge_at(32, above=0.25)
STEP_BY_STEP = (*CONSTANT, "training.steps_per_call=1")


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train without interruption, but with two rollbacks; tests only read the run."""
    return train(tmp_path_factory.mktemp("diverged") / "run", *STEP_BY_STEP, faults=DIVERGES)


def test_a_run_may_diverge_twice(diverged: Trained) -> None:
    assert rollbacks(diverged) == [(32, 30, 0.5), (32, 20, 0.25)]


@pytest.mark.parametrize("step", [23, 27, 33])
def test_an_interrupted_run_that_diverged_ends_like_an_uninterrupted_one(
    step: int, diverged: Trained, tmp_path: Path
) -> None:
    faults = Faults(after_call=interrupt_after(step).after_call, loss=DIVERGES.loss)
    stopped = train(tmp_path / "stopped", *STEP_BY_STEP, faults=faults)
    assert stopped.outcome.signal == signal.SIGINT
    resumed = resume(stopped.folder, faults=DIVERGES)
    assert (resumed.files(), resumed.repeatable_metrics) == (diverged.files(), diverged.repeatable_metrics)


@pytest.mark.parametrize("step", [5, 25, 32])
def test_a_crashed_run_that_diverged_ends_like_an_uninterrupted_one(
    step: int, diverged: Trained, tmp_path: Path
) -> None:
    faults = Faults(after_call=crash_after(step).after_call, loss=DIVERGES.loss)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "crashed", *STEP_BY_STEP, faults=faults)
    resumed = resume(tmp_path / "crashed/run", faults=DIVERGES)
    assert (resumed.files(), resumed.repeatable_metrics) == (diverged.files(), diverged.repeatable_metrics)


def test_training_that_keeps_diverging_ends_with_an_error_and_leaves_finite_checkpoints(tmp_path: Path) -> None:
    faults = diverge_at(25, above=0)
    with pytest.raises(CharlmError, match=r"^the loss .* 3 times; .* lower training\.optimizer\.learning_rate"):
        train(tmp_path / "run", *CONSTANT, faults=faults)
    kept = checkpoints.restore(tmp_path / "run/run/checkpoints", warn=pytest.fail)
    assert all(np.isfinite(tensor).all() for tensor in kept.tensors.values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    faults = Faults(state=lambda step: math.inf if step >= 20 else 0.0)
    with pytest.raises(CharlmError, match="not every weight is finite at step 20"):
        train(tmp_path / "run", faults=faults)
    assert checkpoints.saved_steps(tmp_path / "run/run/checkpoints") == [10, 0]


def test_initial_weights_that_are_not_finite_end_training_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"step 0, and there is no checkpoint .* model\.input_initializer"):
        train(tmp_path / "run", faults=Faults(state=lambda _: math.nan))
