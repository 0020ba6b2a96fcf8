"""A real `charlm train`, stopped at random moments and resumed, ends as if it had been left alone."""

import random
import signal
from pathlib import Path

import pytest
from faults.kill import STEPS_PER_KILL, Stop, differences, train_alone, train_with_stops

KILLS = 5
STEPS = STEPS_PER_KILL * (KILLS + 2)
GRACE_SECONDS = 30
"""An idle machine takes less than one; the limit only tells a run that answers from one that goes on."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train without interruption; tests only read the run."""
    return train_alone(tmp_path_factory.mktemp("faults") / "alone", steps=STEPS)


def stop(folder: Path, number: signal.Signals, stops: int) -> tuple[Path, list[Stop]]:
    return train_with_stops(
        folder / "stopped", steps=STEPS, stops=stops, number=number, rng=random.Random(0), say=print
    )


def test_a_run_that_is_killed_at_random_moments_ends_as_if_it_had_not_been(alone: Path, tmp_path: Path) -> None:
    killed, _ = stop(tmp_path, signal.SIGKILL, KILLS)
    assert differences(alone, killed) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_answers_and_ends_as_if_it_had_not_been(
    number: signal.Signals, alone: Path, tmp_path: Path
) -> None:
    stopped, stops = stop(tmp_path, number, 3)
    assert differences(alone, stopped) == []
    assert not any(one.is_inside_write for one in stops)
    assert max(one.seconds for one in stops) < GRACE_SECONDS
