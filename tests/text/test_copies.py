"""Verbatim overlap of two texts, compared with a search by brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.text import findings
from charlm.text.findings import Copies, find_copies


def covered_positions(text: str, training: str, min_span: int) -> list[bool]:
    """Return for each character whether it is in a span that also occurs in the training text."""
    covered = set[int]()
    for start in range(len(text) - min_span + 1):
        if text[start : start + min_span] in training:
            covered.update(range(start, start + min_span))
    return [index in covered for index in range(len(text))]


@given(
    st.text("abc", max_size=60),
    st.text("ab", max_size=200),
    st.tuples(st.integers(0, 200), st.integers(0, 60)),
    st.integers(1, 6),
)
def test_copies_are_the_same_as_by_brute_force(
    text: str, training: str, copied: tuple[int, int], min_span: int
) -> None:
    start, length = copied
    text += training[start : start + length]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "MIN_SPAN", min_span)
        copies = find_copies(text, training)
    covered = covered_positions(text, training, min_span)
    assert copies.share == pytest.approx(sum(covered) / max(1, len(text)))
    rows = "".join("x" if is_covered else " " for is_covered in covered).split(" ")
    assert len(copies.example) == min(100, max(map(len, rows)))
    assert copies.example in text


SPAN = "abcacbbacabccbaabcba"


@pytest.mark.parametrize(
    ("length", "copies"),
    [(20, Copies(20 / 24, SPAN)), (19, Copies(0, ""))],
    ids=["20 characters", "19 characters"],
)
def test_a_copy_has_at_least_20_characters(length: int, copies: Copies) -> None:
    assert find_copies(f"xx{SPAN[:length]}xx", SPAN) == copies


def test_the_example_is_the_start_of_the_longest_copy() -> None:
    training = "".join(map(chr, range(1000, 1500)))
    text = f"{training[:30]}a{training[100:300]}b{training[400:430]}"
    assert find_copies(text, training).example == training[100:200]
