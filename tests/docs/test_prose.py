"""The words of the program and its pages, and the density of its code; see CONTRIBUTING.md."""

import pytest
from docs.prose import density, find_phrases

MAX_PHRASES = 2.0
"""Maximum number of phrases in 1,000 words."""


@pytest.mark.slow
def test_prose_has_few_phrases_that_a_reader_has_to_decode() -> None:
    places, words = find_phrases()
    shown = "\n".join(map(str, places))
    assert 0 < 1000 * len(places) / words <= MAX_PHRASES, shown


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "limit"), [("charlm", 8.5), ("tests", 9.5)])
def test_code_is_not_dense(folder: str, limit: float) -> None:
    assert density(folder).tokens_per_line <= limit
