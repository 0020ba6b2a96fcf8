"""A real `charlm train` that is stopped at random steps and resumed ends like an uninterrupted one."""

import random
import signal
from pathlib import Path

import pytest
from faults.kill import STEPS_PER_KILL, differences, stop_once, train_to_the_end

KILL, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize(
    ("stops", "seed"),
    [
        pytest.param([KILL, INTERRUPT, KILL, TERMINATE], 0, marks=pytest.mark.slow),
        *(pytest.param([KILL] * 6, seed, marks=pytest.mark.nightly) for seed in (1, 2, 3)),
    ],
)
def test_a_run_stopped_at_random_steps_ends_like_an_uninterrupted_one(
    stops: list[signal.Signals], seed: int, tmp_path: Path
) -> None:
    steps, rng = STEPS_PER_KILL * (len(stops) + 2), random.Random(seed)
    for number in stops:
        stop_once(tmp_path / "stopped", steps=steps, number=number, rng=rng)
    stopped = train_to_the_end(tmp_path / "stopped", steps=steps)
    assert differences(train_to_the_end(tmp_path / "uninterrupted", steps=steps), stopped) == []
