"""The words of the program and its pages, and the density of its code; see CONTRIBUTING.md."""

from pathlib import Path

import pytest
from docs.prose import density, find_phrases, phrases_in

MAX_PHRASES = 2.0
"""Maximum number of phrases in 1,000 words."""


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("Return the loss of each character.", []),
        ("The loss is that of the text.", ["that of"]),
        ("a state from which the text goes on", ["from which", "goes on"]),
    ],
    ids=["plain", "pronoun", "two phrases"],
)
def test_phrases_of_a_text_are_found(text: str, phrases: list[str]) -> None:
    places = phrases_in(text, Path("x.py"), 1, is_docstring=False)
    assert [place.phrase for place in places] == phrases


def test_a_docstring_that_leans_on_its_name_is_found() -> None:
    (place,) = phrases_in("Of the mean, in nats.", Path("x.py"), 7, is_docstring=True)
    assert (place.line, place.phrase) == (7, "Of")


@pytest.mark.slow
def test_prose_has_few_phrases_that_a_reader_has_to_decode() -> None:
    places, words = find_phrases()
    shown = "\n".join(map(str, places))
    assert 1000 * len(places) / words <= MAX_PHRASES, shown


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "limit"), [("charlm", 8.5), ("tests", 9.5)])
def test_code_is_not_dense(folder: str, limit: float) -> None:
    assert density(folder).tokens_per_line <= limit
