"""Which characters of a text get an id of their own, and which are too rare for that."""

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import Rare
from charlm.text.vocabulary import MAX_NAMED, Vocabulary

CHARACTERS_THAT_COST_LITTLE = 256
"""A text of no more different characters keeps them all, if min_count is automatic."""
RARE = 1_000_000
"""What occurs less than once in so many characters is rare."""
MAX_UNKNOWN = 0.005
"""The largest share of a text that the automatic min_count leaves out."""


def settle_min_count(config: CorpusConfig, counts: NDArray[np.int64]) -> CorpusConfig:
    """Return the settings with a number for min_count: as given, or else what the text suggests.

    Every character takes a row of weights, an output, and its share of the softmax in each step, whether it occurs a
    thousand times or once. What occurs less than once in a million characters cannot be learnt.

    Args:
        config: Its min_count may be None.
        counts: How often each code point occurs, int64 [code points].

    """
    if config.min_count is not None:
        return config
    occurring = np.sort(counts[counts > 0])
    smallest = 1
    if len(occurring) > CHARACTERS_THAT_COST_LITTLE:
        total = int(occurring.sum())
        too_many = int(np.searchsorted(np.cumsum(occurring), MAX_UNKNOWN * total, side="right"))
        smallest = max(1, min(total // RARE, int(occurring[too_many])))
    return config.model_copy(update={"min_count": smallest})


def describe_rare(counts: NDArray[np.int64], vocabulary: Vocabulary) -> Rare | None:
    """Return which characters of a text have no id of their own; None = each has.

    Args:
        counts: How often each code point occurs, int64 [code points].
        vocabulary: That of the text.

    """
    rare = counts.copy()
    rare[[ord(character) for character in vocabulary.characters if character is not None]] = 0
    occurring = np.flatnonzero(rare)
    if not len(occurring):
        return None
    commonest = occurring[np.argsort(-rare[occurring], kind="stable")][:MAX_NAMED]
    return Rare(distinct=len(occurring), occurrences=int(rare.sum()), commonest="".join(map(chr, commonest)))


def build_vocabulary(
    counts: NDArray[np.int64], config: CorpusConfig, known: Vocabulary | None, *, end_of_text: bool
) -> Vocabulary:
    """Return the known ids, then further characters by code point, the unknown id, and the end_of_text id.

    Args:
        counts: How often each code point occurs, int64 [code points].
        config: Its min_count is a number.
        known: A vocabulary whose ids are kept; None = none.
        end_of_text: Whether there is an end_of_text id.

    Raises:
        CharlmError: no character occurs min_count times.

    """
    known, smallest = known or Vocabulary(()), config.min_count or 1
    kept = [chr(code_point) for code_point in np.flatnonzero(counts >= smallest)]
    rare = {chr(code_point) for code_point in np.flatnonzero((counts > 0) & (counts < smallest))}
    vocabulary = known.extend(kept, unknown=not rare <= {*known.characters}, end_of_text=end_of_text)
    if not any(vocabulary.characters):
        raise CharlmError(f"corpus.min_count: found {smallest}; no character occurs that often")
    return vocabulary
