"""What the user sees of a search."""

import pytest
from tuning.clocks import ticking

from charlm.tuning.display import Display


def test_each_trial_has_a_line_when_it_begins_and_one_when_it_ends() -> None:
    said: list[str] = []
    with Display(60, say=said.append, show_progress=False) as display:
        display.show_start(0, {"model.units": 8, "training.optimizer.learning_rate": 0.00123456})
        display.show_evaluation(0, 0.5, 2.5)
        display.show_best(0, 2.0)
        display.show_end(0, "2.0000 nats per character")
        display.show_start(1, {"model.embedding": None})
        display.show_end(1, "pruned")
    assert said == [
        "trial 0: units 8, learning_rate 0.001235",
        "trial 0: 2.0000 nats per character; best 2.0000 (trial 0)",
        "trial 1: embedding None",
        "trial 1: pruned; best 2.0000 (trial 0)",
    ]


def test_the_bar_shows_the_time_the_present_trial_and_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(100, say=lambda _: None, show_progress=True, clock=ticking(25)) as display:
        display.show_best(3, 1.23456)
        display.show_evaluation(7, 0.4, 2.5)
        display.show_evaluation(7, 0.5, 2.4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "25 of 100 s, trial 7 at 40%: 2.500, best 1.2346 (trial 3)" in captured.err
    assert "50 of 100 s, trial 7 at 50%: 2.400, best 1.2346 (trial 3)" in captured.err


def test_a_line_that_cannot_be_written_is_dropped() -> None:
    def fail(_line: str) -> None:
        raise BrokenPipeError

    with Display(10, say=fail, show_progress=False) as display:
        display.show_end(0, "pruned")
