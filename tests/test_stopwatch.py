"""The time that parts of a start take."""

import pytest

from charlm.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only element is the time, in seconds."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def test_each_part_takes_what_was_since_the_one_before(clock: list[float]) -> None:
    watch = Stopwatch()
    for part, seconds in (("text", 0.25), ("TensorFlow", 1.5), ("text", 0.5)):
        clock[0] += seconds
        watch.lap(part)
    assert watch.laps == {"text": 0.75, "TensorFlow": 1.5}
    assert str(watch) == "2.2 s (text 0.8, TensorFlow 1.5)"
