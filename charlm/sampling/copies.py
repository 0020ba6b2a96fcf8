"""How much of a generated text occurs word for word in the training text; `charlm.sampling.spans` does the search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.sampling.spans import BLOCK, Span, find_spans
from charlm.text.vocabulary import Vocabulary

MIN_SPAN = 20
"""The shortest span that counts as copied, in ids: any two texts of a language share shorter ones."""


@dataclass(frozen=True)
class Copies:
    """How much of a sample occurs in the training text."""

    characters: int
    """The length of the longest span that occurs there; 0 if none does."""
    text: str
    """That span; of several as long, the first in the sample."""
    position: int | None
    """Where it first begins in the training text, in ids; None if no span occurs there."""
    share: float
    """The share of the sample's ids that are in spans of at least MIN_SPAN which occur there, 0 to 1."""


def find_copies(
    texts: Sequence[str],
    training: NDArray[Any],
    vocabulary: Vocabulary,
    *,
    min_span: int = MIN_SPAN,
    block: int = BLOCK,
) -> list[Copies]:
    """Find what of some texts occurs in the training text.

    At level byte, spans are compared as bytes; a character that a span only has in part is left out of `Copies.text`
    and `Copies.characters`. The memory taken is about 200 bytes for each character of the texts, plus a few for each
    position where the training text has a span of `min_span` ids in common with them.

    Args:
        texts: What to look for.
        training: The ids of the training text, integers [n].
        vocabulary: The characters by id.
        min_span: The shortest span that counts as copied, in ids, 1 or more.
        block: How many ids of the training text to read at once, 1 or more.

    Returns:
        The copies in each text.

    """
    samples = [vocabulary.look_up(text) for text in texts]
    spans, shares = find_spans(samples, training, vocabulary_size=len(vocabulary), min_span=min_span, block=block)
    parts = zip(texts, samples, spans, shares, strict=True)
    return [_describe(text, ids, span, share, vocabulary) for text, ids, span, share in parts]


def _describe(text: str, ids: NDArray[np.int64], span: Span | None, share: float, vocabulary: Vocabulary) -> Copies:
    if span is None:
        return Copies(0, "", None, share)
    end = span.start + span.length
    if vocabulary.level == "char":
        return Copies(span.length, text[span.start : end], span.position, share)
    data = ids[span.start : end].astype(np.uint8).tobytes()
    whole = data.decode("utf-8", "ignore")
    cut = len(data) - len(data.lstrip(bytes(range(0x80, 0xC0))))
    return Copies(len(whole), whole, span.position + cut if whole else None, share)
