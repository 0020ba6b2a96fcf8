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
