"""What a run advises its user to do."""

import pytest

from charlm.training.advice import advise_on_end, advise_on_evaluations, advise_on_rate, advise_on_time
from charlm.training.progress import Progress
from charlm.training.schedule import Schedule


def make_schedule(total: int, every: int) -> Schedule:
    return Schedule(total=total, log_every=5, evaluate_every=every, checkpoint_every=10, steps_per_epoch=20)


def test_a_long_run_is_told_how_to_end_it_and_how_to_take_less_time() -> None:
    assert advise_on_time(90) == ["about 1m30s to go"]
    first, second = advise_on_time(3600)
    assert first == "about 1h00m to go"
    assert second.startswith("Ctrl-C stops the run and saves it; --minutes")


@pytest.mark.parametrize(("last_rate", "is_told"), [(1e-5, True), (4e-4, True), (6e-4, False), (1e-3, False)])
def test_a_rate_that_has_most_of_its_fall_before_it_is_told(last_rate: float, is_told: bool) -> None:
    assert (advise_on_rate(1e-3, last_rate) is not None) == is_told


@pytest.mark.parametrize(
    ("train_nats", "best_step", "expected"),
    [
        (1.0, 700, "more dropout or fewer model.units may help"),
        (1.98, 768, "more training.epochs or model.units would help"),
        (2.3, 768, "more training.epochs or model.units would help"),
    ],
)
def test_the_losses_at_the_end_say_what_would_help(train_nats: float, best_step: int, expected: str) -> None:
    progress = Progress(step=768, best_step=best_step, best_nats=2.0, train_nats=train_nats)
    losses, advice = advise_on_end(progress, split="validation")
    assert losses.startswith(f"training loss {train_nats:.3f}, validation loss 2.000: ")
    assert advice == expected


@pytest.mark.parametrize(
    ("total", "every", "advice"),
    [
        (768, 128, "best/ is from 6 evaluations; for 20: -s training.evaluate_every=38"),
        (108, 500, "best/ is from 1 evaluation; for 20: -s training.evaluate_every=5"),
        (15, 2, "best/ is from 8 evaluations; for 20: -s training.evaluate_every=1"),
        (768, 38, None),
        (15, 1, None),
    ],
)
def test_a_run_with_fewer_than_20_evaluations_is_told_how_to_get_more(
    total: int, every: int, advice: str | None
) -> None:
    assert advise_on_evaluations(make_schedule(total, every)) == advice


def test_a_best_long_before_the_end_is_told() -> None:
    progress = Progress(step=768, best_step=64, best_nats=2.0)
    advice = advise_on_end(progress, split="validation")
    assert advice == [
        "the best was at step 64 of 768: the text is small for this recipe;",
        "use fewer training.epochs or model.units, more dropout, or early stopping",
    ]


@pytest.mark.parametrize(
    ("progress", "split"),
    [
        pytest.param(Progress(step=768, best_step=700, best_nats=2.0, train_nats=1.9), "validation", id="a late best"),
        pytest.param(Progress(step=768, best_step=64, best_nats=2.0), "train", id="no validation text"),
        pytest.param(Progress(step=768), "validation", id="no best"),
    ],
)
def test_an_end_at_which_nothing_is_wrong_has_no_advice(progress: Progress, split: str) -> None:
    assert advise_on_end(progress, split=split) == []
