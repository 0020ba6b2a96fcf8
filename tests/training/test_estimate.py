"""The early estimate of how long a run takes."""

from charlm.training.estimate import Estimate


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
