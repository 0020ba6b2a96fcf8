"""Looking up numbers, and the longest common spans of ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.sampling.copies import Span, find_copies, find_spans
from charlm.text.vocabulary import Vocabulary

NUMBERS = st.lists(st.integers(0, 60), max_size=30)


def test_longest_span_is_the_first_of_its_length_in_the_sample_and_in_the_text() -> None:
    samples = [np.array([9, 1, 2, 9, 3, 4, 9]), np.array([0, 0])]
    text = np.array([3, 4, 5, 1, 2, 5, 1, 2], np.uint8)
    spans, shares = find_spans(samples, text, vocabulary_size=10, min_span=2)
    assert spans == [Span(start=1, length=2, position=3), None]
    assert shares == pytest.approx([4 / 7, 0])


LETTERS = Vocabulary("char", ("a", "b", "c", "\n", None, None), unknown_id=4, end_of_text_id=5)
BYTES = Vocabulary("byte", (*map(chr, range(256)), None), end_of_text_id=256)
TEXTS = st.text("abc", max_size=80)


def by_brute_force(text: str, training: str, least: int) -> tuple[str, int | None, float]:
    """Return the longest span, its first position in the training text, and the share of ids in spans of `least`."""
    spans = [
        text[i : i + n]
        for n in range(len(text), 0, -1)
        for i in range(len(text) - n + 1)
        if text[i : i + n] in training
    ]
    longest = spans[0] if spans else ""
    covered = {i + k for i in range(len(text) - least + 1) for k in range(least) if text[i : i + least] in training}
    return longest, training.index(longest) if spans else None, len(covered) / max(1, len(text))


@given(
    parts=st.lists(st.tuples(TEXTS, st.integers(0, 200), st.integers(0, 60)), min_size=1, max_size=3),
    training=st.text("ab", min_size=1, max_size=300),
    least=st.integers(1, 6),
    block=st.integers(1, 100),
)
def test_spans_are_those_of_a_search_by_brute_force(
    parts: list[tuple[str, int, int]], training: str, least: int, block: int
) -> None:
    texts = [text + training[start : start + length] for text, start, length in parts]
    ids = LETTERS.encode(training).astype(np.uint8)
    found = find_copies(texts, ids, LETTERS, min_span=least, block=block)
    for text, one in zip(texts, found, strict=True):
        longest, position, share = by_brute_force(text, training, least)
        assert (one.text, one.characters, one.position) == (longest, len(longest), position)
        assert one.share == pytest.approx(share)


def ids(text: str, vocabulary: Vocabulary = LETTERS) -> "np.ndarray[tuple[int], np.dtype[np.uint16]]":
    return vocabulary.encode(text).astype(np.uint16)


def test_character_that_is_not_in_the_vocabulary_is_not_copied() -> None:
    (found,) = find_copies(["Xab"], np.array([4, 0, 1, 4], np.uint8), Vocabulary("char", ("a", "b")))
    assert found.text == "ab"


def test_spans_of_20_ids_are_counted_and_spans_of_19_are_not() -> None:
    span = "abcacbbacabccbaabcba"
    whole, cut = find_copies([f"\n\n{span}\n\n", f"\n\n{span[:-1]}\n\n"], ids(span), LETTERS)
    assert (whole.characters, cut.characters) == (20, 19)
    assert (whole.share, cut.share) == pytest.approx((20 / 24, 0))


def test_empty_sample_and_sample_with_nothing_in_common_have_no_copies() -> None:
    for found in find_copies(["", "ccc"], ids("abab"), LETTERS):
        assert (found.characters, found.text, found.position, found.share) == (0, "", None, 0)


def test_span_of_bytes_is_reduced_to_whole_characters() -> None:
    training = np.concatenate([ids("x", BYTES), ids("é", BYTES)[1:], ids("ab", BYTES), ids("é", BYTES)[:1]])
    (found,) = find_copies(["éabé"], training, BYTES)
    assert (found.text, found.characters, found.position) == ("ab", 2, 2)


def test_text_that_repeats_itself_is_one_long_span() -> None:
    (found,) = find_copies(["ab" * 20_000], ids("ab" * 50_000), LETTERS)
    assert (found.characters, found.position, found.share) == (40_000, 0, 1)
