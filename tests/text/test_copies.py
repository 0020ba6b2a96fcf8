"""Verbatim overlap of two texts, compared with a search by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.text.copies import Copies, find_copies


def ids(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("ascii"), np.uint8)


def longest_common_span(text: str, training: str) -> str:
    for length in range(len(text), 0, -1):
        for start in range(len(text) - length + 1):
            span = text[start : start + length]
            if span in training:
                return span
    return ""


def covered_share(text: str, training: str, min_span: int) -> float:
    """Return the share of a text in spans that also occur in the training text."""
    covered = set[int]()
    for start in range(len(text) - min_span + 1):
        if text[start : start + min_span] in training:
            covered.update(range(start, start + min_span))
    return len(covered) / max(1, len(text))


@given(
    st.text("abc", max_size=60),
    st.text("ab", max_size=200),
    st.tuples(st.integers(0, 200), st.integers(0, 60)),
    st.integers(1, 6),
    st.integers(1, 100),
)
def test_copies_are_the_same_as_by_brute_force(
    text: str, training: str, copied: tuple[int, int], min_span: int, block: int
) -> None:
    start, length = copied
    text += training[start : start + length]
    copies = find_copies(ids(text), ids(training), min_span=min_span, block=block)
    longest = longest_common_span(text, training)
    assert copies.share == pytest.approx(covered_share(text, training, min_span))
    assert copies.length == len(longest)
    assert copies.position == (training.index(longest) if longest else None)
    assert copies.start == (text.index(longest) if longest else None)


SPAN = "abcacbbacabccbaabcba"


@pytest.mark.parametrize(
    ("length", "copies"),
    [(20, Copies(20 / 24, 20, 2, 0)), (19, Copies(0, 19, 2, 0))],
    ids=["20 characters", "19 characters"],
)
def test_a_copy_has_at_least_20_characters(length: int, copies: Copies) -> None:
    assert find_copies(ids(f"xx{SPAN[:length]}xx"), ids(SPAN)) == copies


def test_a_text_that_repeats_itself_is_a_single_long_span() -> None:
    assert find_copies(ids("ab" * 20_000), ids("ab" * 50_000)) == Copies(1, 40_000, 0, 0)


def test_different_texts_with_the_same_hash_are_distinguished() -> None:
    """The Thue-Morse sequence and its complement have the same hash modulo 2^64."""
    text = "".join("ab"[index.bit_count() % 2] for index in range(4096))
    complement = text.translate(str.maketrans("ab", "ba"))
    assert find_copies(ids(text), ids(complement)).length == 2048
