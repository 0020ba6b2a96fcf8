"""The text of ids as they are chosen: stop texts, the end of the text, however the ids come."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from charlm.sampling.growing import GrowingText
from charlm.text.vocabulary import Vocabulary

ABC = Vocabulary(("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)


def read(text: str, stops: Sequence[str], borders: Sequence[int] = ()) -> tuple[str, str | None, int]:
    """Return what becomes of a text that comes in parts, why it has ended, and how many of its ids count."""
    growing, ids, places = GrowingText(ABC, stops=stops), ABC.encode(text).tolist(), [0, *sorted(borders), len(text)]
    parts = [ids[a:b] for a, b in pairwise(places)]
    pieces = [growing.read(part, is_last=False) for part in parts] + [growing.read([], is_last=True)]
    return "".join(pieces), growing.stopped_by, growing.chosen


def test_a_stop_text_that_begins_first_wins_even_if_it_is_complete_later() -> None:
    for borders in ([], [1, 2, 3], [3]):
        assert read("abca", ["abca", "bc"], borders) == ("", "stop text", 4)
        assert read("abcb", ["abca", "bc"], borders) == ("a", "stop text", 3)
        assert read("abc", ["abca", "bc"], borders) == ("a", "stop text", 3)


@given(
    text=st.text("ab", max_size=20),
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4),
    borders=st.lists(st.integers(0, 20), max_size=6),
)
def test_a_text_ends_at_the_first_place_of_a_stop_text_however_it_comes(
    text: str, stops: list[str], borders: list[int]
) -> None:
    places = [(place, len(stop)) for place in range(len(text)) for stop in stops if text[place:].startswith(stop)]
    place, length = min(places, default=(len(text), 0))
    expected = (text[:place], "stop text" if places else "length", place + length)
    assert read(text, stops, [min(border, len(text)) for border in borders]) == expected


def test_an_end_of_text_id_ends_the_text_or_is_a_blank_line() -> None:
    ending, going_on = GrowingText(ABC), GrowingText(ABC, ignore_end=True)
    assert (ending.read([0, 4, 1], is_last=False), ending.stopped_by, ending.chosen) == ("a", "end of text", 1)
    assert ending.read([1], is_last=True) == ""
    assert (going_on.read([0, 4, 1], is_last=True), going_on.stopped_by) == ("a\n\nb", "length")
