"""A limit on the time beside the training, with a clock of its own."""

from charlm.training.allowance import Allowance


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
