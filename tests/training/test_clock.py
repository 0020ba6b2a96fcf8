"""The times of the parts of the start."""

from charlm.training.clock import Allowance, Estimate, Stopwatch


def test_a_part_takes_the_time_since_the_part_before() -> None:
    times = iter([100.0, 100.25, 101.75, 102.25])
    watch = Stopwatch(clock=lambda: next(times))
    for part in ("text", "TensorFlow", "text"):
        watch.lap(part)
    assert watch.laps == {"text": 0.75, "TensorFlow": 1.5}
    assert str(watch) == "2.2 s (text 0.8, TensorFlow 1.5)"


def test_the_rest_takes_as_long_a_step_as_those_after_the_first_call() -> None:
    estimate = Estimate(1000, timed_seconds=1.0)
    assert estimate.update(10, 5.0) is None  # the first call took 5 seconds
    assert estimate.update(20, 5.5) is None
    assert estimate.update(30, 6.0) == (1000 - 30) * 1.0 / 20


def test_there_is_one_estimate() -> None:
    estimate = Estimate(1000, timed_seconds=1.0)
    updates = [estimate.update(10 * call, 2.0 * call) for call in range(1, 6)]
    assert [update is None for update in updates] == [True, False, True, True, True]


def test_a_run_that_ends_sooner_has_none() -> None:
    estimate = Estimate(20, timed_seconds=1.0)
    assert [estimate.update(step, step / 100) for step in (10, 20)] == [None, None]


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_time_is_always_allowed_and_the_next_when_both_fit_into_the_share() -> None:
    clock = Clock()
    allowance = Allowance(share=0.1, clock=clock)
    assert allowance.allows(0.0)
    with allowance.spend():
        clock.now += 3
    assert [allowance.allows(seconds) for seconds in (0, 59, 60)] == [False, False, True]
    with allowance.spend():
        clock.now += 1
    assert [allowance.allows(seconds) for seconds in (49, 50)] == [False, True]
