"""A real `charlm train` that is stopped at random moments and resumed ends like an uninterrupted one."""

import signal
from pathlib import Path

import pytest
from faults.kill import STEPS_PER_KILL, differences, train_uninterrupted, train_with_stops

pytestmark = pytest.mark.slow

KILLS = 5
STEPS = STEPS_PER_KILL * (KILLS + 2)
GRACE_SECONDS = 30
"""An idle machine needs less than one second; this limit only detects a run that does not stop."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train without interruption; tests only read the run."""
    return train_uninterrupted(tmp_path_factory.mktemp("faults") / "uninterrupted", steps=STEPS)


def test_a_run_killed_at_random_moments_ends_like_an_uninterrupted_one(uninterrupted: Path, tmp_path: Path) -> None:
    killed, _ = train_with_stops(tmp_path / "killed", steps=STEPS, stops=KILLS)
    assert differences(uninterrupted, killed) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_signals_ends_like_an_uninterrupted_one(
    number: signal.Signals, uninterrupted: Path, tmp_path: Path
) -> None:
    stopped, stops = train_with_stops(tmp_path / "stopped", steps=STEPS, stops=3, number=number)
    assert differences(uninterrupted, stopped) == []
    assert not any(one.is_inside_write for one in stops)
    assert max(one.seconds for one in stops) < GRACE_SECONDS
