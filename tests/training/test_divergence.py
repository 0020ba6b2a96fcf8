"""What counts as gone astray, where training goes back to, and what it takes along."""

import math

import pytest

from charlm.config import DivergenceConfig
from charlm.training import divergence
from charlm.training.checkpoints import Progress
from charlm.training.divergence import DivergenceError, rate_scale, step_to_go_back_to

SETTINGS = DivergenceConfig(tolerance_nats=1.0, patience_steps=2, rate_factor=0.5)


def watch(*losses: float, settings: DivergenceConfig = SETTINGS, progress: Progress | None = None) -> Progress:
    """Look at losses in a single call, or after those of an earlier one."""
    progress = progress or Progress()
    divergence.watch([(loss, 1.0) for loss in losses], first=progress.step, progress=progress, settings=settings)
    progress.step += len(losses)
    return progress


def rolled_back(*steps: int) -> Progress:
    return Progress(rollbacks=[{"step": step} for step in steps])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_has_gone_astray(loss: float) -> None:
    with pytest.raises(
        DivergenceError, match=f"^the loss is {loss} and the gradient norm 1.0 at step 2$"
    ) as found:
        watch(3.0, loss, 3.0)
    assert (found.value.step, found.value.loss_nats) == (2, None)


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_has_gone_astray(norm: float) -> None:
    with pytest.raises(DivergenceError, match=f"the gradient norm {norm} at step 8"):
        divergence.watch([(3.0, norm)], first=7, progress=Progress(), settings=SETTINGS)


def test_a_loss_far_above_the_lowest_for_a_while_has_gone_astray() -> None:
    with pytest.raises(DivergenceError, match=r"2\.600 in the 2 steps before step 6, and was 1\.500") as found:
        watch(2.0, 2.0, 1.0, 2.0, 2.5, 2.7)
    assert found.value.step == 6
    assert found.value.loss_nats == pytest.approx(2.6)


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param((1.0, 1.0, 5.0, -2.0), id="a peak that passes"),
        pytest.param((1.0, 1.0, 2.0, 2.0), id="no further than the tolerance"),
        pytest.param((9.0, 9.0, 1.0, 1.0), id="high only at the beginning"),
        pytest.param((1.0, 1.0, 9.0), id="not yet for long enough"),
    ],
)
def test_a_loss_has_not_gone_astray_with(losses: tuple[float, ...]) -> None:
    watch(*losses)


def test_the_answer_does_not_depend_on_how_many_losses_come_at_once() -> None:
    progress = watch(1.0)
    for loss in (1.0, 9.0):
        watch(loss, progress=progress)
    with pytest.raises(DivergenceError, match="before step 4"):
        watch(9.0, progress=progress)


def test_without_a_tolerance_a_loss_may_be_any_number() -> None:
    watch(1.0, 1.0, 99.0, 99.0, settings=SETTINGS.model_copy(update={"tolerance_nats": None}))


def test_the_rate_falls_with_every_rollback() -> None:
    assert [rate_scale(rolled_back(*[0] * count), SETTINGS) for count in range(4)] == [1.0, 0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("saved", "progress", "step"),
    [
        pytest.param([30, 20, 10], rolled_back(), 30, id="the newest"),
        pytest.param([33, 30, 20], rolled_back(), 30, id="not one that a signal brought about"),
        pytest.param([33, 21], rolled_back(), 33, id="unless there is no other"),
        pytest.param([30, 20, 10], rolled_back(20), 30, id="the newest, if it was saved since"),
        pytest.param([30, 20, 10], rolled_back(30), 20, id="the one before it, if it was tried"),
        pytest.param([0], rolled_back(0), 0, id="the first again and again"),
    ],
)
def test_training_goes_back_to(saved: list[int], progress: Progress, step: int) -> None:
    assert step_to_go_back_to(saved, period=10, progress=progress) == step


def test_the_best_and_all_rollbacks_outlive_going_back() -> None:
    earlier, restored = rolled_back(30, 20), rolled_back(30)
    earlier.best_nats, earlier.best_step, restored.step = 1.5, 37, 10
    diverged = DivergenceError("the loss is high", step=38, loss_nats=4.0)
    new = divergence.go_back(diverged, earlier=earlier, restored=restored, settings=SETTINGS)
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
