"""Looking up numbers, and the longest common spans of ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.sampling.spans import Span, find_spans, look_up

NUMBERS = st.lists(st.integers(0, 60), max_size=30)


@pytest.mark.parametrize("max_table", [0, 1 << 20], ids=["search", "table"])
@given(codes=st.sets(st.integers(0, 60), max_size=30), wanted=NUMBERS)
def test_number_is_looked_up_by_search_and_by_table(codes: set[int], wanted: list[int], max_table: int) -> None:
    in_order = sorted(codes)
    expected = [in_order.index(number) if number in codes else -1 for number in wanted]
    found = look_up(np.array(in_order, np.int64), np.array(wanted, np.int64), max_table=max_table)
    assert found.tolist() == expected


def test_longest_span_is_the_first_of_its_length_in_the_sample_and_in_the_text() -> None:
    samples = [np.array([9, 1, 2, 9, 3, 4, 9]), np.array([0, 0])]
    text = np.array([3, 4, 5, 1, 2, 5, 1, 2], np.uint8)
    spans, shares = find_spans(samples, text, vocabulary_size=10, min_span=2)
    assert spans == [Span(start=1, length=2, position=3), None]
    assert shares == pytest.approx([4 / 7, 0])


def test_without_samples_there_is_no_span() -> None:
    spans, shares = find_spans([np.zeros(0, np.int64)], np.array([1, 2]), vocabulary_size=3, min_span=2)
    assert (spans, shares) == ([None], [0])
