"""How much of a generated text occurs word for word in the training text, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.text.vocabulary import Vocabulary

Ids = NDArray[Any]
Numbers = NDArray[np.int64]

BLOCK = 1 << 18
MAX_TABLE = 1 << 20  # codes up to this are looked up in a table, which is faster than a search


class Span(NamedTuple):
    """A span that occurs both in a sample and in the text."""

    start: int
    """Where it begins in the sample, in ids."""
    length: int
    position: int
    """Where it first begins in the text, in ids."""


def find_spans(
    samples: Sequence[Numbers], text: Ids, *, vocabulary_size: int, min_span: int, block: int = BLOCK
) -> tuple[list[Span | None], list[float]]:
    """Find the longest span that each sample has in common with a text.

    Of spans of the same length, the first in the sample counts, and its first occurrence in the text.

    Args:
        samples: The ids of each sample, int64 [m]; -1 for a character that is not in the vocabulary.
        text: The ids of the text, integers [n], 0 to vocabulary_size - 1.
        vocabulary_size: The number of ids.
        min_span: The shortest span that counts for the shares, in ids, 1 or more.
        block: How many ids of the text to read at once, 1 or more.

    Returns:
        For each sample, the longest span, None if there is none; and for each sample, the share of its ids, 0 to 1,
        that are in common spans of at least `min_span`.

    """
    joined = np.concatenate([part for ids in samples for part in (ids, [-1])])
    joined = np.where(joined < 0, vocabulary_size, joined)  # an id that is not in the text
    trie = _build_trie(joined, vocabulary_size + 1, min_span)
    first_positions, theirs = _read_text(trie, text, block)
    lengths, positions = np.zeros(len(joined), np.int64), np.zeros(len(joined), np.int64)
    levels = zip(first_positions, trie.descend(joined), strict=True)
    for length, (first_position, (starts, ranks)) in enumerate(levels, start=1):
        is_common = first_position[ranks] >= 0
        ours = Occurrences(starts[is_common], ranks[is_common])
        lengths[ours.starts], positions[ours.starts] = length, first_position[ours.ranks]
    is_copied = _cover(ours.starts, min_span, len(joined))

    def longest(begin: int, end: int) -> Span | None:
        """Return the longest span of the sample that is ids `begin` to `end` - 1 of the joined ids."""
        start = begin + int(np.argmax(lengths[begin : end + 1]))
        span = Span(start, int(lengths[start]), int(positions[start]))
        if span.length == min_span:
            first, last = np.searchsorted(ours.starts, [begin, end])
            span = _longest(Occurrences(ours.starts[first:last], ours.ranks[first:last]), theirs, min_span)
        return span._replace(start=span.start - begin) if span.length else None

    ends = np.cumsum([len(ids) + 1 for ids in samples]) - 1
    parts = [(end - len(ids), end) for ids, end in zip(samples, ends.tolist(), strict=True)]
    shares = [float(is_copied[begin:end].sum()) / max(1, end - begin) for begin, end in parts]
    return [longest(*part) for part in parts], shares


class Occurrences(NamedTuple):
    """Where spans of one length occur in a text."""

    starts: Numbers
    """Where they begin, in order."""
    ranks: Numbers
    """Which span begins there."""


@dataclass(frozen=True)
class _Trie:
    """All spans of 1 to `min_span` ids in the samples."""

    base: int
    levels: list[Numbers]

    def descend(self, ids: Ids, *, begin_before: int | None = None) -> Iterator[Occurrences]:
        """Yield, for each length, where spans of the trie occur in ids [n] and begin before a position."""
        starts = np.arange(len(ids[:begin_before]))
        ranks = np.zeros(len(starts), np.int64)
        for before, codes in enumerate(self.levels):
            count = np.searchsorted(starts, len(ids) - before)
            starts = starts[:count]
            found = look_up(codes, ranks[:count] * self.base + ids[starts + before])
            is_known = found >= 0
            starts, ranks = starts[is_known], found[is_known]
            yield Occurrences(starts, ranks)


def _build_trie(ids: Numbers, base: int, min_span: int) -> _Trie:
    ranks = np.zeros(len(ids), np.int64)
    levels = []
    for before in range(min_span):
        last = ids[before:]
        codes, ranks = np.unique(ranks[: len(last)] * base + last, return_inverse=True)
        levels.append(codes)
    return _Trie(base, levels)


def look_up(codes: Numbers, wanted: Numbers, *, max_table: int = MAX_TABLE) -> Numbers:
    """Find numbers in a sorted array.

    Args:
        codes: int64 [n], 0 or more, each larger than the one before it.
        wanted: int64 [m], 0 or more.
        max_table: If the last code is below this, a table may be used instead of a search.

    Returns:
        The index of each wanted number in `codes`, int64 [m]; -1 if it is not among them.

    """
    if not len(codes):
        return np.full(len(wanted), -1)
    if codes[-1] < min(max_table, 4 * len(wanted)):
        table = np.full(codes[-1] + 2, -1)
        table[codes] = np.arange(len(codes))
        return table[np.minimum(wanted, len(table) - 1)]
    found = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    return np.where(codes[found] == wanted, found, -1)


def _read_text(trie: _Trie, text: Ids, block: int) -> tuple[list[Numbers], Occurrences]:
    """Return where each span of the trie first begins in a text, and the occurrences of those of `min_span`.

    The first result is an array by rank for each length, -1 for a span that does not occur.
    """
    first_positions = [np.full(len(codes), -1) for codes in trie.levels]
    occurrences = [Occurrences(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for start in range(0, len(text), block):
        part = text[start : start + block + len(trie.levels) - 1]
        levels = zip(first_positions, trie.descend(part, begin_before=block), strict=True)
        for first_position, (starts, ranks) in levels:
            is_new = first_position[ranks] < 0
            first_position[ranks[is_new][::-1]] = start + starts[is_new][::-1]  # the first is written last and stays
        occurrences.append(Occurrences(start + starts, ranks))
    return first_positions, Occurrences(*map(np.concatenate, zip(*occurrences, strict=True)))


def _cover(starts: Numbers, length: int, size: int) -> NDArray[np.bool_]:
    """Return which of `size` positions are in a span of `length` that begins at one of the starts."""
    edges = np.zeros(size + 1, np.int64)
    edges[starts] += 1
    edges[starts + length] -= 1
    return np.cumsum(edges[:-1]) > 0


def _longest(ours: Occurrences, theirs: Occurrences, length: int) -> Span:
    """Return the longest common span of two texts, given where spans of `length` occur, at least one in both."""
    common = _lengthen(ours, theirs, 0)
    while True:
        longer = _lengthen(*common, length)
        if not len(longer[0].starts):
            break
        common, length = longer, 2 * length
    best, low, high = common, 0, length  # a span of length + low is common, none of length + high is
    while high - low > 1:
        shift = (low + high) // 2
        longer = _lengthen(*common, shift)
        if len(longer[0].starts):
            best, low = longer, shift
        else:
            high = shift
    ours, theirs = best
    return Span(int(ours.starts[0]), length + low, int(theirs.starts[np.argmax(theirs.ranks == ours.ranks[0])]))


def _lengthen(ours: Occurrences, theirs: Occurrences, shift: int) -> tuple[Occurrences, Occurrences]:
    """Return the occurrences of spans longer by `shift`, at most their length, that are common to both texts."""
    base = 1 + int(ours.ranks.max(initial=0))
    pairs = [_join(occurrences, shift, base) for occurrences in (ours, theirs)]
    common = np.intersect1d(pairs[0].ranks, pairs[1].ranks)
    found = [look_up(common, occurrences.ranks) for occurrences in pairs]
    first, second = (
        Occurrences(occurrences.starts[ranks >= 0], ranks[ranks >= 0])
        for occurrences, ranks in zip(pairs, found, strict=True)
    )
    return first, second


def _join(occurrences: Occurrences, shift: int, base: int) -> Occurrences:
    """Return the pairs of an occurrence and one `shift` later, with rank first * base + second."""
    later = look_up(occurrences.starts, occurrences.starts + shift)
    is_there = later >= 0
    ranks = occurrences.ranks[is_there] * base + occurrences.ranks[later[is_there]]
    return Occurrences(occurrences.starts[is_there], ranks)


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
