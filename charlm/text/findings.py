"""Possible problems in a text, found before training on it, and what helps.

A text of more than MAX_CHARACTERS is looked at in parts, so that the time does not grow with its size.

Axes: V vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.text.corpus import Corpus, Split, count_ids
from charlm.text.vocabulary import name_some

MAX_CHARACTERS = 2_000_000
PARTS = 20
"""The number of parts that are looked at in a longer text."""


def find_problems(corpus: Corpus) -> list[str]:
    """Return the possible problems of a text, each as a line for the user that says what helps."""
    checks = (_check_length, _check_line_ends, _check_blanks, _check_validation)
    return [*find_omissions(corpus), *(problem for check in checks for problem in check(corpus))]


def find_omissions(corpus: Corpus) -> Iterator[str]:
    """Find what of the text was left out when it was tokenized: rare characters, and files."""
    manifest = corpus.manifest
    if (rare := manifest.rare) is not None:
        known = sum(character is not None for character in corpus.vocabulary.characters)
        named = ", ".join(map(repr, rare.commonest))
        yield (
            f"rare characters: {rare.distinct:,} of {known + rare.distinct:,} share the unknown id, "
            f"{rare.occurrences / manifest.characters:.2%} of the text; the commonest are {named}; "
            f"corpus.min_count={manifest.min_count} decides it, and corpus.min_count=1 keeps all"
        )
    if left_out := manifest.left_out:
        names = name_some([f"{name} ({reason})" for name, reason in left_out.items()], most=3)
        is_undecodable = any("valid" in reason for reason in left_out.values())
        advice = f"; if a file is text, convert it to {manifest.encoding}" if is_undecodable else ""
        yield f"files: {len(left_out):,} left out: {names}{advice}"


def _sampled(corpus: Corpus, name: Split) -> NDArray[Any]:
    """Return the ids of a split, integers [n]; of a long one PARTS parts that stand for it."""
    ids, size = corpus.split(name), MAX_CHARACTERS // PARTS
    if len(ids) <= MAX_CHARACTERS:
        return ids
    return np.concatenate(
        [ids[start : start + size] for start in np.linspace(0, len(ids) - size, PARTS).astype(int)]
    )


FEW_CHARACTERS, ENOUGH_CHARACTERS = 20_000, 70_000
"""With less training text, networks were hardly better than 5-grams; with so much, they were better on every text."""


def _check_length(corpus: Corpus) -> Iterator[str]:
    """Find a text that is too short to learn much from, but not one that is memorised, which has no validation part."""
    characters = len(corpus.split("train"))
    if characters < FEW_CHARACTERS and len(corpus.split("validation")):
        yield (
            f"length: from {characters:,} characters a network learns little more than a 5-gram model does; "
            f"{ENOUGH_CHARACTERS:,} and more are better"
        )


MIN_RETURNS = 0.005
"""The share of the characters that are carriage returns, from which on they are line ends of Windows."""


def _check_line_ends(corpus: Corpus) -> Iterator[str]:
    """Find line ends of Windows, of which each costs a character."""
    known = corpus.vocabulary.characters
    if {"\r", "\n"} <= {*known} and np.mean(
        _sampled(corpus, "train") == known.index("\r")
    ) > MIN_RETURNS:
        yield "line ends: \\r\\n; make them one character (tr -d '\\r' < FILE > NEW)"


BLANKS, MAX_BLANKS = 4, 0.1
"""Blanks in a row that are many, and the share of the characters that may be in such rows: a network that has learnt
them writes little else at a low temperature."""


def _check_blanks(corpus: Corpus) -> Iterator[str]:
    """Find a training text that is indented, or laid out in columns, by rows of blanks."""
    if " " not in corpus.vocabulary.characters:
        return
    ids = _sampled(corpus, "train")
    edges = np.flatnonzero(
        np.diff(ids == corpus.vocabulary.characters.index(" "), prepend=False, append=False)
    )
    rows = edges[1::2] - edges[::2]
    if (share := rows[rows >= BLANKS].sum() / max(1, len(ids))) > MAX_BLANKS:
        yield (
            f"blanks: {share:.0%} of the characters are in rows of {BLANKS} and more; a network repeats these "
            "without end; indent by tabs (unexpand -t 4 --first-only FILE > NEW), or collapse them where they mean "
            "nothing (tr -s ' ' < FILE > NEW); this changes the text, and nats per character of different texts do not "
            "compare: compare the total bits of an evaluation"
        )


OTHER_KIND_NATS = 0.2
"""What the frequencies of the training text cost beside its own on a validation text of another kind, in nats per
character. Most texts had 0.01 to 0.13, those that end with another author, a table or another language 0.22 and more.
"""


def _check_validation(corpus: Corpus) -> Iterator[str]:
    """Find a validation text with other characters than the training text, or with other frequencies of them.

    By the divergence KL(q || p) = sum of q ln(q / p), p the frequencies in the training text, q in the validation text.
    """
    if len(corpus.split("train")) < FEW_CHARACTERS or not len(corpus.split("validation")):
        return
    texts = (_sampled(corpus, name) for name in ("train", "validation"))
    p, q = (
        counts / counts.sum()
        for counts in (count_ids(ids, len(corpus.vocabulary)) + 0.5 for ids in texts)
    )
    excess = q * np.log(q / p)
    if (total := excess.sum()) > OTHER_KIND_NATS:
        names = name_some(
            [repr(corpus.vocabulary.names[i]) for i in np.flatnonzero(excess > total / 10)]
        )
        yield (
            f"validation text: the end of the text is of another kind: more of {names} than before it; name the files "
            "in another order, or move the parts of the file"
        )
