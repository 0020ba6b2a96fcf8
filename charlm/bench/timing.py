"""How the workloads of `charlm bench` are timed within their process."""

import time
from collections.abc import Callable

Figures = dict[str, float]
"""What a workload measures, by name."""


def per_second(
    run: Callable[[int], object],
    *,
    repetitions: int,
    seconds: float,
    min_turns: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Measure the turns per second of the fastest repetition, after a warm-up of one turn.

    Args:
        run: Takes a number of turns.
        repetitions: 1 or more.
        seconds: The least length of a repetition.
        min_turns: The turns of a repetition, which are doubled until they last for `seconds`.
        clock: Tells the time in seconds.

    """

    def elapsed_seconds(turns: int) -> float:
        """Return how long some turns take."""
        start = clock()
        run(turns)
        return clock() - start

    run(1)  # builds graphs and takes memory, once
    turns = min_turns
    while (elapsed := elapsed_seconds(turns)) < seconds:
        turns *= 2
    return turns / min([elapsed, *(elapsed_seconds(turns) for _ in range(repetitions - 1))])
