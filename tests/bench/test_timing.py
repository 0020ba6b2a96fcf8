"""How the workloads of `charlm bench` are timed."""

from charlm.bench.timing import per_second


class Clock:
    """A clock that stands still but for the seconds that are added to it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_speed_is_that_of_the_best_repetition_of_the_least_length() -> None:
    clock, calls = Clock(), [0]

    def run(turns: int) -> None:
        clock.seconds += turns * {1: 9.0, 5: 0.5, 10: 0.5, 20: [0.5, 0.25, 1.0][calls.count(20)]}[turns]
        calls.append(turns)

    assert per_second(run, repetitions=3, seconds=8.0, clock=clock) == 4
    assert calls == [0, 1, 5, 10, 20, 20, 20]


def test_a_slow_run_can_have_a_single_turn() -> None:
    clock, calls = Clock(), []

    def run(turns: int) -> None:
        clock.seconds += 10.0 * turns
        calls.append(turns)

    assert per_second(run, repetitions=1, seconds=1.0, min_turns=1, clock=clock) == 0.1
    assert calls == [1, 1]
