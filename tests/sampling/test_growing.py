"""The text of ids as they are chosen: stop texts, the end of the text."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from charlm.sampling.growing import GrowingText
from charlm.text.vocabulary import Vocabulary

ABC = Vocabulary(("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)


def read(ids: Sequence[int], growing: GrowingText) -> list[str]:
    """Return the pieces of a text of ids, up to its end."""
    pieces = []
    for place, index in enumerate(ids, start=1):
        pieces.append(growing.read(index, is_last=place == len(ids)))
        if growing.stopped_by:
            break
    return pieces


@given(text=st.text("ab", min_size=1, max_size=20), stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4))
def test_a_text_ends_before_the_stop_text_that_is_complete_first(text: str, stops: list[str]) -> None:
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    kept = text[: min(ends, default=len(text))]
    longest = max((len(stop) for stop in stops if kept.endswith(stop)), default=0)
    growing = GrowingText(ABC, stops=stops)
    assert "".join(read(ABC.encode(text).tolist(), growing)) == kept[: len(kept) - longest]
    assert growing.stopped_by == ("stop text" if ends else "length")


def test_what_may_be_the_beginning_of_a_stop_text_is_held_back() -> None:
    assert read([0, 0, 0, 1, 0], GrowingText(ABC, stops=["aab"])) == ["", "", "a", ""]
    assert read([0, 1, 2], GrowingText(ABC, stops=["abb"])) == ["", "", "abc"]


def test_an_end_of_text_id_ends_the_text_or_is_a_blank_line() -> None:
    ending, going_on = GrowingText(ABC, stops=["ab"]), GrowingText(ABC, ignore_end=True)
    assert (read([0, 4, 1], ending), ending.stopped_by) == (["", "a"], "end of text")
    assert (read([0, 4, 1], going_on), going_on.stopped_by) == (["a", "\n\n", "b"], "length")
