"""A real `charlm train` that is stopped at random moments and resumed ends like an uninterrupted one."""

import signal
from pathlib import Path

import pytest
from faults.kill import MOMENTS, STEPS_PER_KILL, differences, train_uninterrupted, train_with_stops

KILL, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
GRACE_SECONDS = 30
"""An idle machine needs less than one second; this limit only detects a run that does not stop."""


@pytest.mark.parametrize(
    ("stops", "seed"),
    [
        pytest.param(
            [*((moment, KILL) for moment in MOMENTS), ("training", INTERRUPT), ("writing", TERMINATE)],
            *(0,),
            id="each",
            marks=pytest.mark.slow,
        ),
        *(
            pytest.param([(moment, number) for moment in MOMENTS] * 2, seed, id=number.name, marks=pytest.mark.nightly)
            for seed, number in enumerate((KILL, INTERRUPT, TERMINATE), start=1)
        ),
    ],
)
def test_a_run_stopped_at_random_moments_ends_like_an_uninterrupted_one(
    stops: list[tuple[str, signal.Signals]], seed: int, tmp_path: Path
) -> None:
    steps = STEPS_PER_KILL * (len(stops) + 2)
    uninterrupted = train_uninterrupted(tmp_path / "uninterrupted", steps=steps)
    stopped, done = train_with_stops(tmp_path / "stopped", steps=steps, stops=stops, seed=seed)
    assert differences(uninterrupted, stopped) == []
    for (_, number), stop in zip(stops, done, strict=True):
        if number != KILL:
            assert not stop.is_inside_write
            assert stop.seconds < GRACE_SECONDS
