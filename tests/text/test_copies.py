"""The longest common span of two texts, and the share of common spans, compared with a search by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.text.copies import Copies, find_copies


def ids(text: str) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    return np.frombuffer(text.encode("ascii"), np.uint8)


def by_brute_force(text: str, training: str, least: int) -> tuple[float, str, int | None]:
    """Return the share of ids in spans of `least`, the longest span, and its first position in the training text."""
    spans = [text[i : i + n] for n in range(len(text), 0, -1) for i in range(len(text) - n + 1)]
    longest = next((span for span in spans if span in training), "")
    covered = {
        i + k
        for i in range(len(text) - least + 1)
        for k in range(least)
        if text[i : i + least] in training
    }
    return len(covered) / max(1, len(text)), longest, training.index(longest) if longest else None


SPANS = st.tuples(st.integers(0, 200), st.integers(0, 60))


@given(
    st.text("abc", max_size=60),
    st.text("ab", max_size=200),
    SPANS,
    st.integers(1, 6),
    st.integers(1, 100),
)
def test_spans_are_by_brute_force(
    text: str, training: str, copied: tuple[int, int], least: int, block: int
) -> None:
    text += training[copied[0] : sum(copied)]
    found = find_copies(ids(text), ids(training), min_span=least, block=block)
    share, longest, position = by_brute_force(text, training, least)
    assert found.share == pytest.approx(share)
    assert (found.length, found.position) == (len(longest), position)
    assert found.start == (text.index(longest) if longest else None)


def test_spans_of_20_ids_are_counted_and_spans_of_19_are_not() -> None:
    span = "abcacbbacabccbaabcba"
    whole, cut = (find_copies(ids(f"xx{part}xx"), ids(span)) for part in (span, span[:-1]))
    assert whole == Copies(20 / 24, 20, 2, 0)
    assert cut == Copies(0, 19, 2, 0)


def test_a_text_that_repeats_itself_is_one_long_span() -> None:
    assert find_copies(ids("ab" * 20_000), ids("ab" * 50_000)) == Copies(1, 40_000, 0, 0)


def test_a_text_and_its_complement_of_the_sequence_of_thue_and_morse_are_told_apart() -> None:
    """Their hashes modulo 2^64 are the same from 2,048 characters on."""
    text = "".join("ab"[index.bit_count() % 2] for index in range(4096))
    found = find_copies(ids(text), ids(text.translate(str.maketrans("ab", "ba"))))
    assert found.length == 2048
