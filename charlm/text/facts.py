"""The size of a text, its rare characters, and what in it would make a network worse, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass

from charlm.text.corpus import Corpus
from charlm.text.counting import count_ids
from charlm.text.findings import RARE, Finding, look_at

MAX_COUNTED = 1 << 26
"""In a longer text, characters are not counted: that would take seconds, and memory for all that is mapped."""


@dataclass(frozen=True)
class TextFacts:
    """A text to train on."""

    summary: str
    """In a line, for the user."""
    characters: int
    documents: int
    vocabulary: int
    """V, the number of ids."""
    splits: dict[str, int]
    """The number of ids of train, validation and test."""
    rare: dict[str, int] | None
    """How often each character occurs that occurs fewer than RARE times, the rarest first; None = not counted, since
    the text is longer than MAX_COUNTED ids."""
    findings: list[Finding]
    """What in it would make a network worse."""


def describe_text(corpus: Corpus, *, max_counted: int = MAX_COUNTED) -> TextFacts:
    """Return the facts about a text.

    Args:
        corpus: The text.
        max_counted: The length in ids up to which its characters are counted.

    Raises:
        CharlmError: an id is not in the vocabulary, or ids.bin has become shorter.

    """
    rare = None
    if len(corpus.ids) <= max_counted:
        corpus.check_ids(corpus.ids)
        rare = _rare(corpus.vocabulary.characters, count_ids(corpus.ids, len(corpus.vocabulary)).tolist())
    return TextFacts(
        summary=corpus.summary,
        characters=corpus.manifest.characters,
        documents=len(corpus.manifest.sources),
        vocabulary=len(corpus.vocabulary),
        splits={name: end - start for name, (start, end) in corpus.splits.items()},
        rare=rare,
        findings=look_at(corpus, rare),
    )


def _rare(characters: Sequence[str | None], counts: Sequence[int]) -> dict[str, int]:
    """Return the count of each rare character, the rarest first; an id that is reserved or never occurs is none."""
    found = {name: n for name, n in zip(characters, counts, strict=True) if name is not None and 0 < n < RARE}
    return dict(sorted(found.items(), key=lambda item: item[1]))
