"""How much of what a model wrote stands verbatim in the text that it learnt from.

Spans up to MIN_SPAN are found by reading the training text, in blocks and from all positions of a block at once,
down a tree of the spans of the samples. Longer ones are put together from those, twice as long each time: a span
of length + shift is two of `length`, the second begun `shift` later. Everything is compared exactly.

A span is known by its rank among those of its length in the samples; a tree is its levels, each the sorted codes
rank of all but the last id * base + last id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.vocabulary import Vocabulary

Ids = NDArray[Any]
Numbers = NDArray[np.int64]

MIN_SPAN = 20
"""A shorter span than this, in ids, is not counted as copied: any two texts of a language share some."""
BLOCK = 1 << 18  # ids of the training text read at once
TABLE = 1 << 20  # codes up to this are looked up in a table, which is faster than a search


@dataclass(frozen=True)
class Copies:
    """What of a sample stands in the training text."""

    characters: int
    """The length of the longest span that stands there; 0 if none does."""
    text: str
    """That span, the first of its length."""
    position: int | None
    """Where it first begins in the training text, in ids; None if nowhere."""
    share: float
    """Of the ids of the sample, those in spans of MIN_SPAN or more that stand there, from 0 to 1."""


class Span(NamedTuple):
    """A span that stands both in a sample and in the training text."""

    start: int
    length: int
    position: int


def find_copies(texts: Sequence[str], training: Ids, vocabulary: Vocabulary) -> list[Copies]:
    """Return the Copies of each text; `training` holds ids [n].

    At level byte, spans are found among bytes; of a span that begins or ends within a character, the rest counts.
    The memory taken is about 200 bytes for each character of the texts, and does not grow with n but for the
    places where the training text has MIN_SPAN ids in common with them.
    """
    samples = [vocabulary.look_up(text) for text in texts]
    spans, shares = find_spans(samples, training, vocabulary_size=len(vocabulary))
    parts = zip(texts, samples, spans, shares, strict=True)
    return [_describe(text, ids, span, share, vocabulary) for text, ids, span, share in parts]


def _describe(text: str, ids: Numbers, span: Span | None, share: float, vocabulary: Vocabulary) -> Copies:
    if span is None:
        return Copies(0, "", None, share)
    end = span.start + span.length
    if vocabulary.level == "char":
        return Copies(span.length, text[span.start : end], span.position, share)
    data = ids[span.start : end].astype(np.uint8).tobytes()
    whole = data.decode("utf-8", "ignore")
    cut = len(data) - len(data.lstrip(bytes(range(0x80, 0xC0))))
    return Copies(len(whole), whole, span.position + cut if whole else None, share)


def find_spans(
    samples: Sequence[Numbers], training: Ids, *, vocabulary_size: int
) -> tuple[list[Span | None], list[float]]:
    """Return the longest span that each sample has in common with the training text, and its share of MIN_SPAN.

    The ids of the samples are -1 where the vocabulary has none. Of spans of the same length the first in the
    sample counts, and the first place where it stands in the training text.
    """
    joined = np.concatenate([part for ids in samples for part in (ids, [-1])])
    joined = np.where(joined < 0, vocabulary_size, joined)  # an id that no training text has
    tree = _grow(joined, vocabulary_size + 1)
    places, theirs = _read(tree, training)
    lengths, positions = np.zeros(len(joined), np.int64), np.zeros(len(joined), np.int64)
    for length, (place, (starts, ranks)) in enumerate(zip(places, tree.descend(joined), strict=True), start=1):
        is_there = place[ranks] >= 0
        ours = Windows(starts[is_there], ranks[is_there])
        lengths[ours.starts], positions[ours.starts] = length, place[ours.ranks]
    is_copied = _cover(ours.starts, len(joined))

    def longest(begin: int, end: int) -> Span | None:
        """Return the longest span of the sample at begin to end - 1 of the joined ids, counted from its start."""
        start = begin + int(np.argmax(lengths[begin : end + 1]))
        span = Span(start, int(lengths[start]), int(positions[start]))
        if span.length == MIN_SPAN:
            first, last = np.searchsorted(ours.starts, [begin, end])
            span = _longest(Windows(ours.starts[first:last], ours.ranks[first:last]), theirs)
        return span._replace(start=span.start - begin) if span.length else None

    ends = np.cumsum([len(ids) + 1 for ids in samples]) - 1
    parts = [(end - len(ids), end) for ids, end in zip(samples, ends.tolist(), strict=True)]
    shares = [float(is_copied[begin:end].sum()) / max(1, end - begin) for begin, end in parts]
    return [longest(*part) for part in parts], shares


class Windows(NamedTuple):
    """Spans of one length, where they begin in a text, in order, and their ranks."""

    starts: Numbers
    ranks: Numbers


@dataclass(frozen=True)
class Tree:
    """All spans of 1 to MIN_SPAN ids in some text."""

    base: int
    levels: list[Numbers]
    """The codes of each length."""

    def descend(self, ids: Ids, *, begin_before: int | None = None) -> Iterator[Windows]:
        """Yield the windows of each length of a text ids [n] that are spans of the tree."""
        starts = np.arange(len(ids[:begin_before]))
        ranks = np.zeros(len(starts), np.int64)
        for before, codes in enumerate(self.levels):
            count = np.searchsorted(starts, len(ids) - before)
            starts = starts[:count]
            found = _look_up(codes, ranks[:count] * self.base + ids[starts + before])
            is_known = found >= 0
            starts, ranks = starts[is_known], found[is_known]
            yield Windows(starts, ranks)


def _grow(ids: Numbers, base: int) -> Tree:
    ranks = np.zeros(len(ids), np.int64)
    levels = []
    for before in range(MIN_SPAN):
        last = ids[before:]
        codes, ranks = np.unique(ranks[: len(last)] * base + last, return_inverse=True)
        levels.append(codes)
    return Tree(base, levels)


def _look_up(codes: Numbers, wanted: Numbers) -> Numbers:
    """Return the index of each wanted number in the sorted codes, -1 where it is not among them."""
    if not len(codes):
        return np.full(len(wanted), -1)
    if codes[-1] < min(TABLE, 4 * len(wanted)):
        table = np.full(codes[-1] + 2, -1)
        table[codes] = np.arange(len(codes))
        return table[np.minimum(wanted, len(table) - 1)]
    found = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    return np.where(codes[found] == wanted, found, -1)


def _read(tree: Tree, training: Ids) -> tuple[list[Numbers], Windows]:
    """Return where each span of the tree first begins in the training text (-1: nowhere), for each length.

    And the windows of MIN_SPAN there that are spans of the tree.
    """
    places = [np.full(len(codes), -1) for codes in tree.levels]
    windows = [Windows(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for start in range(0, len(training), BLOCK):
        part = training[start : start + BLOCK + MIN_SPAN - 1]
        for place, (starts, ranks) in zip(places, tree.descend(part, begin_before=BLOCK), strict=True):
            is_new = place[ranks] < 0
            place[ranks[is_new][::-1]] = start + starts[is_new][::-1]  # the last to be written is the first
        windows.append(Windows(start + starts, ranks))
    return places, Windows(*map(np.concatenate, zip(*windows, strict=True)))


def _cover(starts: Numbers, size: int) -> NDArray[np.bool_]:
    """Return which of `size` positions lie in a window of MIN_SPAN."""
    edges = np.zeros(size + 1, np.int64)
    edges[starts] += 1
    edges[starts + MIN_SPAN] -= 1
    return np.cumsum(edges[:-1]) > 0


def _longest(ours: Windows, theirs: Windows) -> Span:
    """Return the longest span that windows of MIN_SPAN, some of them common to both texts, make up in both."""
    length = MIN_SPAN
    common = _lengthen(ours, theirs, 0)
    while True:
        longer = _lengthen(*common, length)
        if not len(longer[0].starts):
            break
        common, length = longer, 2 * length
    best, low, high = common, 0, length  # length + low is there, length + high is not
    while high - low > 1:
        shift = (low + high) // 2
        longer = _lengthen(*common, shift)
        if len(longer[0].starts):
            best, low = longer, shift
        else:
            high = shift
    ours, theirs = best
    return Span(int(ours.starts[0]), length + low, int(theirs.starts[np.argmax(theirs.ranks == ours.ranks[0])]))


def _lengthen(ours: Windows, theirs: Windows, shift: int) -> tuple[Windows, Windows]:
    """Return the windows longer by `shift`, at most the length, that are common to both texts."""
    base = 1 + int(ours.ranks.max(initial=0))
    pairs = [_join(windows, shift, base) for windows in (ours, theirs)]
    common = np.intersect1d(pairs[0].ranks, pairs[1].ranks)
    found = [_look_up(common, windows.ranks) for windows in pairs]
    first, second = (
        Windows(windows.starts[ranks >= 0], ranks[ranks >= 0]) for windows, ranks in zip(pairs, found, strict=True)
    )
    return first, second


def _join(windows: Windows, shift: int, base: int) -> Windows:
    """Return the pairs of a window and one `shift` later, ranked by first * base + second."""
    later = _look_up(windows.starts, windows.starts + shift)
    is_there = later >= 0
    ranks = windows.ranks[is_there] * base + windows.ranks[later[is_there]]
    return Windows(windows.starts[is_there], ranks)
