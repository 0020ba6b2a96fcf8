"""Possible problems in a text, found before training on it, and what helps.

A text of more than MAX_CHARACTERS is looked at in parts, so that the time does not grow with its size.

Axes: V vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.text.corpus import Corpus, count_ids
from charlm.text.vocabulary import name_some

MAX_CHARACTERS = 2_000_000
PARTS = 20
"""The number of parts that are looked at in a longer text."""
MIN_OCCURRENCES = 5
"""What occurs less often is taken for chance."""


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
            f"corpus.min_count={manifest.min_count} decides it, and -s corpus.min_count=1 keeps all"
        )
    if left_out := manifest.left_out:
        names = name_some([f"{name} ({reason})" for name, reason in left_out.items()], most=3)
        yield f"files: {len(left_out):,} left out: {names}; if a file is text, convert it to {manifest.encoding}"


def _parts(ids: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the parts of a text that are looked at, integers [n], or the whole text if it is not longer than they."""
    if len(ids) <= MAX_CHARACTERS:
        return [ids]
    size = MAX_CHARACTERS // PARTS
    starts = np.linspace(0, len(ids) - size, PARTS).astype(int)
    return [ids[start : start + size] for start in starts]


FEW_CHARACTERS, ENOUGH_CHARACTERS = 20_000, 70_000
"""With less training text, networks were hardly better than 5-grams; with so much, they were better on every text."""


def _check_length(corpus: Corpus) -> Iterator[str]:
    """Find a text that is too short to learn much from."""
    if (characters := len(corpus.split("train"))) < FEW_CHARACTERS:
        yield (
            f"length: {characters:,} characters teach a network little more than counting does; "
            f"give it {ENOUGH_CHARACTERS:,} and more"
        )


def _check_line_ends(corpus: Corpus) -> Iterator[str]:
    """Find line ends of Windows, of which each costs a character."""
    if {"\r", "\n"} <= {*corpus.vocabulary.characters}:
        yield "line ends: \\r\\n; make them one character (tr -d '\\r' < FILE > NEW)"


BLANKS, MAX_BLANKS = 4, 0.1
"""Blanks in a row that are many, and the share of the characters that may be in such rows: a network that has learnt
them writes little else at a low temperature."""


def _check_blanks(corpus: Corpus) -> Iterator[str]:
    """Find a training text that is indented, or laid out in columns, by rows of blanks."""
    if " " not in corpus.vocabulary.characters:
        return
    blank, many, read = corpus.vocabulary.characters.index(" "), 0, 0
    for ids in _parts(corpus.split("train")):
        edges = np.flatnonzero(np.diff(ids == blank, prepend=False, append=False))
        rows = edges[1::2] - edges[::2]
        many, read = many + int(rows[rows >= BLANKS].sum()), read + len(ids)
    if many > MAX_BLANKS * read:
        yield (
            f"blanks: {many / read:.0%} of the characters are in rows of {BLANKS} and more; a network repeats these "
            "without end; indent by tabs (unexpand -t 4 --first-only FILE > NEW), or collapse them where they mean "
            "nothing (tr -s ' ' < FILE > NEW)"
        )


MAX_UNSEEN = 0.005
"""Each character that the training text lacks costs about 10 nats, so that this share of them costs 0.05 on average."""


def _check_validation(corpus: Corpus) -> Iterator[str]:
    """Find a validation text with characters that the training text lacks, as another language has them."""
    training, validation = (
        count_ids(np.concatenate(_parts(corpus.split(name))), len(corpus.vocabulary))
        for name in ("train", "validation")
    )
    is_new = (training == 0) & (validation > 0)
    unseen, names = int(validation[is_new].sum()), corpus.vocabulary.names
    if unseen >= MIN_OCCURRENCES and unseen > MAX_UNSEEN * validation.sum():
        new = name_some([repr(names[index]) for index in np.flatnonzero(is_new)])
        yield (
            f"validation text: the end of the text is of another kind: {unseen / validation.sum():.1%} of its "
            f"characters do not occur before it, {new}; name the files in another order, or move the parts of the file"
        )
