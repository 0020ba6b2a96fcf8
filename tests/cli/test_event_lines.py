"""The lines that tell the user about each event."""

from pathlib import Path

import pytest

from charlm import events
from charlm.cli.progress import describe
from charlm.events import Event

RUN = Path("runs/a")
LINES = [
    pytest.param(events.Note("a message"), ["a message"], id="note"),
    pytest.param(events.Started(RUN, 0, 2000), [], id="new run"),
    pytest.param(events.Started(RUN, 1, 2000), ["resumed at step 1 of 2,000"], id="resumed run"),
    pytest.param(
        events.TrialStarted(0, {"model.units": 8, "training.optimizer.learning_rate": 0.00123456}),
        ["trial 0: units 8, learning_rate 0.001235"],
        id="trial with numbers",
    ),
    pytest.param(
        events.TrialStarted(3, {"model.rnn.activation": "relu"}),
        ["trial 3: activation relu"],
        id="trial with a word",
    ),
    pytest.param(
        events.TrialEnded(4, 1.5, 1.25, 2),
        ["trial 4: 1.5000 nats per character; best 1.2500 (trial 2)"],
        id="ended trial",
    ),
    pytest.param(
        events.TrialEnded(0, None, 1.4, 2),
        ["trial 0: pruned; best 1.4000 (trial 2)"],
        id="pruned trial",
    ),
    pytest.param(events.Saved(9, RUN), [], id="checkpoint"),
    pytest.param(events.Ended(RUN, "all steps done", 9), [], id="end"),
]


@pytest.mark.parametrize(("event", "lines"), LINES)
def test_an_event_is_told_in_these_lines(event: Event, lines: list[str]) -> None:
    assert describe(event) == lines


def test_a_long_note_is_wrapped_at_80_columns_with_the_prefix() -> None:
    line = 35 * "a " + "aa"
    assert len(f"charlm: {line}") == 80
    assert describe(events.Note(line)) == [line]
    assert describe(events.Note(f"{line} b")) == [line, "  b"]
