"""The lines that tell the user about each event."""

from dataclasses import replace
from pathlib import Path

import pytest

from charlm import events
from charlm.cli.progress import describe
from charlm.events import Event

RUN = Path("runs/a")
DECIDED = events.Decided(
    recipe="tiny",
    reason="it is small",
    steps=1234,
    epochs=3.14159,
    evaluations=20,
    minutes=None,
)
"""Decision about a new run."""
LIMITED = events.Decided(recipe="tiny", reason="", steps=1, epochs=0.25, evaluations=1, minutes=2.5)
"""Decision about a run with a time limit."""
LINES = [
    pytest.param(events.Note("a message"), ["a message"], id="note"),
    pytest.param(
        DECIDED,
        ["recipe tiny: it is small", "training: 1,234 steps (3.14 epochs), 20 evaluations"],
        id="decision",
    ),
    pytest.param(
        LIMITED,
        ["training for 2.5 min: 1 step (0.25 epochs), 1 evaluation"],
        id="decision with a time limit",
    ),
    pytest.param(events.Started(RUN, 0, 2000), [], id="new run"),
    pytest.param(events.Started(RUN, 1, 2000), ["resumed at step 1 of 2,000"], id="resumed run"),
    pytest.param(
        events.ServerListening("http://127.0.0.1:1", ("a", "b")),
        ["serving a, b at http://127.0.0.1:1/v1; Ctrl-C stops it"],
        id="server",
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


def test_a_long_reason_is_wrapped() -> None:
    lines = describe(replace(DECIDED, reason=(20 * "words ").strip()))
    assert len(lines) == 3
    assert lines[1].startswith("  words")
