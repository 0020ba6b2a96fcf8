"""Possible problems of a text, found before training on it, with advice.

Only parts of a text longer than MAX_CHARACTERS are checked, so that the time stays short.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.text.corpus import Corpus, Split, count_ids
from charlm.text.vocabulary import name_some

MAX_CHARACTERS = 2_000_000
PARTS = 20
"""Number of parts of a longer text that are checked."""
FEW_CHARACTERS = 20_000
"""Length of a training text below which networks were barely better than 5-gram models."""
ENOUGH_CHARACTERS = 70_000
"""Length of a training text above which networks were always better than 5-gram models."""
MIN_RETURNS = 0.005
"""Share of carriage returns above which a text has Windows line endings."""
MIN_SPACES = 4
"""Minimum number of spaces in a long run."""
MAX_SPACES = 0.1
"""Maximum share of a text in long runs of spaces. A network that has learnt more spaces generates
little else at a low temperature."""
MAX_DIVERGENCE = 0.2
"""Divergence in nats per character above which the validation text differs from the training text.
Most texts had 0.01 to 0.13; texts that end with another author, a table or another language had
0.22 and more."""


def find_problems(corpus: Corpus) -> list[str]:
    """Return the possible problems of a text, each with advice in a line for the user."""
    checks = (find_omissions, _check_length, _check_line_endings, _check_spaces, _check_validation)
    return [problem for check in checks for problem in check(corpus)]


def find_omissions(corpus: Corpus) -> Iterator[str]:
    """Yield a line for the user about rare characters, and a line about omitted files."""
    manifest = corpus.manifest
    rare = manifest.rare
    if rare is not None:
        total = corpus.vocabulary.distinct + rare.distinct
        commonest = ", ".join(map(repr, rare.commonest))
        yield (
            f"rare characters: {rare.distinct:,} of {total:,} share the unknown id, "
            f"{rare.occurrences / manifest.characters:.2%} of the text; most common: {commonest}; "
            f"corpus.min_count={manifest.min_count} sets the limit, corpus.min_count=1 keeps all"
        )
    if manifest.left_out:
        files = [f"{name} ({reason})" for name, reason in manifest.left_out.items()]
        is_undecodable = any("valid" in reason for reason in manifest.left_out.values())
        advice = f"; if a file is text, convert it to {manifest.encoding}" if is_undecodable else ""
        yield f"files: {len(files):,} left out: {name_some(files, most=3)}{advice}"


def _sample(corpus: Corpus, split: Split) -> NDArray[Any]:
    """Return the ids of a split, or evenly spaced parts of a long split."""
    ids = corpus.split(split)
    if len(ids) <= MAX_CHARACTERS:
        return ids
    size = MAX_CHARACTERS // PARTS
    starts = np.linspace(0, len(ids) - size, PARTS).astype(int)
    return np.concatenate([ids[start : start + size] for start in starts])


def _check_length(corpus: Corpus) -> Iterator[str]:
    """Report a short training text, unless it is to be memorised and so has no validation text."""
    characters = len(corpus.split("train"))
    if characters < FEW_CHARACTERS and len(corpus.split("validation")):
        yield (
            f"length: {characters:,} characters of training text; "
            f"a 5-gram model is hard to beat below {ENOUGH_CHARACTERS:,}"
        )


def _check_line_endings(corpus: Corpus) -> Iterator[str]:
    characters = corpus.vocabulary.characters
    if "\r" not in characters or "\n" not in characters:
        return
    is_return = _sample(corpus, "train") == characters.index("\r")
    if is_return.mean() > MIN_RETURNS:
        yield (
            "line endings: \\r\\n, as on Windows; each costs an extra character; "
            "remove \\r with tr -d '\\r' < FILE > NEW"
        )


def _check_spaces(corpus: Corpus) -> Iterator[str]:
    """Report a training text that is indented or laid out in columns with spaces."""
    if " " not in corpus.vocabulary.characters:
        return
    is_space = _sample(corpus, "train") == corpus.vocabulary.characters.index(" ")
    edges = np.flatnonzero(np.diff(is_space, prepend=False, append=False))
    lengths = edges[1::2] - edges[::2]
    share = lengths[lengths >= MIN_SPACES].sum() / max(1, len(is_space))
    if share > MAX_SPACES:
        yield (
            f"spaces: {share:.0%} of the characters are in groups of {MIN_SPACES} or more spaces, "
            "which a network learns to repeat endlessly; indent with tabs "
            "(unexpand -t 4 --first-only FILE > NEW), or collapse meaningless spaces "
            "(tr -s ' ' < FILE > NEW); then compare total bits, not the loss per character, "
            "with the old text"
        )


def _check_validation(corpus: Corpus) -> Iterator[str]:
    """Report a validation text whose character frequencies differ from the training text's.

    The measure is the divergence KL(q || p) = sum of q ln(q / p), with the frequencies p of the
    training text and q of the validation text.
    """
    if len(corpus.split("train")) < FEW_CHARACTERS or not len(corpus.split("validation")):
        return
    p = _frequencies(corpus, "train")
    q = _frequencies(corpus, "validation")
    excess = q * np.log(q / p)
    divergence = excess.sum()
    if divergence > MAX_DIVERGENCE:
        frequent = np.flatnonzero(excess > divergence / 10)
        names = name_some([repr(corpus.vocabulary.names[index]) for index in frequent])
        yield (
            f"validation text: the end of the text has more {names} than the rest; "
            "list the files in another order, or move parts of the file"
        )


def _frequencies(corpus: Corpus, split: Split) -> NDArray[np.float64]:
    counts = count_ids(_sample(corpus, split), len(corpus.vocabulary)) + 0.5
    return np.asarray(counts / counts.sum())
