"""A real `charlm train` that is stopped at random moments and resumed ends like an uninterrupted one."""

import random
import signal
from pathlib import Path

import pytest
from faults.kill import MOMENTS, STEPS_PER_KILL, differences, stop_once, train_to_the_end

KILL, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
GRACE_SECONDS = 30
"""An idle machine needs less than one second; this limit only detects a run that does not stop."""
EACH = [*((moment, KILL) for moment in MOMENTS), ("training", INTERRUPT), ("writing", TERMINATE)]


@pytest.mark.parametrize(
    ("stops", "seed"),
    [
        pytest.param(EACH, 0, id="each", marks=pytest.mark.slow),
        *(
            pytest.param([(moment, number) for moment in MOMENTS] * 2, seed, id=number.name, marks=pytest.mark.nightly)
            for seed, number in enumerate((KILL, INTERRUPT, TERMINATE), start=1)
        ),
    ],
)
def test_a_run_stopped_at_random_moments_ends_like_an_uninterrupted_one(
    stops: list[tuple[str, signal.Signals]], seed: int, tmp_path: Path
) -> None:
    steps, rng = STEPS_PER_KILL * (len(stops) + 2), random.Random(seed)
    for moment, number in stops:
        stop = stop_once(tmp_path / "stopped", steps=steps, moment=moment, number=number, rng=rng)
        if number != KILL:
            assert not stop.is_inside_write
            assert stop.seconds < GRACE_SECONDS
    stopped = train_to_the_end(tmp_path / "stopped", steps=steps)
    assert differences(train_to_the_end(tmp_path / "uninterrupted", steps=steps), stopped) == []
