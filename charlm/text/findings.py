"""Possible problems of a text, found before training on it, and what a text copies from another."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.core.vocabulary import Ids
from charlm.text.corpus import Corpus, count_ids
from charlm.wording import counted, name_some

MIN_SPAN = 20
"""Length of the shortest span that counts as copied; texts of one language share shorter spans."""
MAX_EXAMPLE = 100
"""Maximum length of the example of a copied span."""
FEW_CHARACTERS = 20_000
"""Length of a training text below which its character frequencies say little."""
BLOCKS, LAST_BLOCKS = 32, 4
"""Number of blocks of the validation text, and of the last blocks that must differ."""
USUAL_SHARE = 0.95
"""Share of the blocks of the training text whose divergence is usual. The least divergence of the
last four blocks was at most 0.8 times the largest usual one for 20 texts (prose, plays, source
code, logs, tables), and at least 1.1 times after a license of 19,000 characters was added."""
MAX_LINE = 60
"""Maximum length of a line of the text in a message."""
MAX_REPEATED = 0.5
"""Share of the validation text above which it repeats the training text, in whole lines. Prose has
a few percent, program code and logs at most a fifth."""
COMPARED_CHARACTERS = 10_000, 300_000
"""Numbers of characters at the start of the validation text and at the end of the training text
that are compared, so that it takes only a moment."""


def find_problems(corpus: Corpus) -> list[str]:
    """Return the possible problems of a text: what was left out, and what cannot be scored."""
    return [*find_omissions(corpus), *_check_validation(corpus)]


def find_omissions(corpus: Corpus) -> Iterator[str]:
    """Yield lines for the user about rare characters, invalid bytes and omitted files."""
    manifest = corpus.manifest
    rare = manifest.rare
    if rare is not None:
        total = corpus.vocabulary.distinct + rare.distinct
        yield (
            f"rare characters: {rare.distinct:,} of {total:,} share the unknown id, "
            f"{rare.occurrences / manifest.characters:.2%} of the text; "
            "-s corpus.min_count=1 keeps all"
        )
    invalid = [
        f"{source.name} ({counted(source.invalid, 'time')})"
        for source in manifest.sources
        if source.invalid
    ]
    if invalid:
        yield f"bytes not valid in {manifest.encoding}: read as U+FFFD in {name_some(invalid)}"
    if manifest.left_out:
        files = [f"{name} ({reason})" for name, reason in manifest.left_out.items()]
        yield f"files: {len(files):,} left out: {name_some(files)}"


def _check_validation(corpus: Corpus) -> Iterator[str]:
    """Report a validation text that repeats the training text, or that differs from it."""
    validation = corpus.split("validation")[: COMPARED_CHARACTERS[0]]
    if not len(validation):
        return
    training = corpus.split("train")[-COMPARED_CHARACTERS[1] :]
    spell = corpus.vocabulary.spell
    known = {*spell(training, end="\n").split("\n")}
    lines = spell(validation, end="\n").split("\n")[1:-1]  # whole ones
    repeated = sum(len(line) + 1 for line in lines if line in known) / len(validation)
    if repeated > MAX_REPEATED:
        yield (
            f"validation text: {repeated:.0%} of it are lines that the training text has too, so "
            "its loss says little about new text"
        )
    elif len(training) >= FEW_CHARACTERS:
        yield from _check_end(corpus)


def _check_end(corpus: Corpus) -> Iterator[str]:
    """Report an end of the validation text that differs from the training text.

    The measure is the divergence KL(q || p) = sum of q ln(q / p), with the frequencies p of the
    characters of the training text, and q of the characters of a block.
    """
    training, validation = corpus.split("train"), corpus.split("validation")
    size = len(validation) // BLOCKS
    if not size:
        return
    p = _frequencies(training, corpus)
    usual = np.quantile(_divergences(training, p, size=size), USUAL_SHARE)
    if (_divergences(validation, p, size=size)[-LAST_BLOCKS:] <= usual).any():
        return
    # The end begins where the rest is best told apart by the frequencies of the last blocks.
    q = _frequencies(validation[-LAST_BLOCKS * size :], corpus)
    start = np.argmin(np.cumsum(np.log(q / p)[validation])) + 1
    end = corpus.vocabulary.decode(validation[start:])
    line = next(filter(None, end.split("\n")[1:]), end)
    yield (
        f"validation text: the end of the text differs from the rest, in the last {len(end):,} of "
        f"{len(validation):,} characters, from about the line {line[:MAX_LINE]!r}; remove a "
        "license or an index, or list the files in another order"
    )


def _frequencies(ids: Ids, corpus: Corpus) -> NDArray[np.float64]:
    counts = count_ids(ids, len(corpus.vocabulary)) + 0.5
    return np.asarray(counts / counts.sum())


def _divergences(ids: Ids, p: NDArray[np.float64], *, size: int) -> NDArray[np.float64]:
    """Return the divergence of each block of `size` ids from the frequencies p [V]."""
    divergences = []
    for start in range(0, len(ids) - size + 1, size):
        q = count_ids(ids[start : start + size], len(p)) / size
        occurs = q > 0
        divergences.append(np.sum(q[occurs] * np.log(q[occurs] / p[occurs])))
    return np.array(divergences)


@dataclass(frozen=True)
class Copies:
    """The overlap of a text with the training text."""

    share: float
    """Share of the characters that are in a copied span of at least MIN_SPAN characters, 0 to 1."""
    example: str
    """Beginning of the longest row of copied characters; "" if nothing is copied."""


def find_copies(text: str, training: str) -> Copies:
    """Find the spans of a text that occur in the training text."""
    windows = {*_windows(text, MIN_SPAN)}
    common = windows.intersection(_windows(training, MIN_SPAN))
    copied = bytearray(len(text))
    for start, window in enumerate(_windows(text, MIN_SPAN)):
        if window in common:
            copied[start : start + MIN_SPAN] = b"x" * MIN_SPAN
    if not common:
        return Copies(0.0, "")
    longest = max(copied.split(b"\0"), key=len)
    start = copied.find(longest)
    length = min(len(longest), MAX_EXAMPLE)
    return Copies(copied.count(b"x") / len(text), text[start : start + length])


def _windows(text: str, size: int) -> Iterator[str]:
    """Yield every window of `size` characters, in order."""
    return (text[start : start + size] for start in range(len(text) - size + 1))
