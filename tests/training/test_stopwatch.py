"""The times of the parts of the start."""

from charlm.training.stopwatch import Stopwatch


def test_a_part_takes_the_time_since_the_part_before() -> None:
    times = iter([100.0, 100.25, 101.75, 102.25])
    watch = Stopwatch(clock=lambda: next(times))
    for part in ("text", "TensorFlow", "text"):
        watch.lap(part)
    assert watch.laps == {"text": 0.75, "TensorFlow": 1.5}
    assert str(watch) == "2.2 s (text 0.8, TensorFlow 1.5)"
