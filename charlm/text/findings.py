"""Possible problems in a text, found before training on it, and what helps; with them the size of the text.

A text of more than MAX_CHARACTERS is looked at in parts, so that the time does not grow with its size.

Axes: V vocabulary.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import counted
from charlm.text.copies import WINDOW, repeated_share
from charlm.text.corpus import Corpus, name_some
from charlm.text.vocabulary import UNKNOWN_GLYPH, Ids

MAX_CHARACTERS = 2_000_000
PARTS = 20
"""The number of parts that are looked at in a longer text."""
MAX_REPEATED = 0.02
"""The largest share of a text in repeated passages that is not worth a word."""
MIN_OCCURRENCES = 5
"""What occurs less often is taken for chance."""


@dataclass(frozen=True)
class Finding:
    """A possible problem in a text: it would make a network worse, or is not learnt from."""

    subject: str
    """rare characters, undecodable files, empty files, encoding, line ends, repeated passages or validation text."""
    found: str
    """In a few words, for the user."""
    advice: str
    """What helps: a setting, or what to do with the text."""

    @property
    def line(self) -> str:
        """All of it in a line for the user."""
        return f"{self.subject}: {self.found}; {self.advice}"


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
    findings: list[Finding]
    """Its possible problems."""


def describe_text(corpus: Corpus) -> TextFacts:
    """Return the facts about a text; raises CharlmError if ids.bin has become shorter."""
    return TextFacts(
        summary=corpus.summary,
        characters=corpus.manifest.characters,
        documents=len(corpus.manifest.sources),
        vocabulary=len(corpus.vocabulary),
        splits={name: end - start for name, (start, end) in corpus.splits.items()},
        findings=find_problems(corpus),
    )


def find_problems(corpus: Corpus) -> list[Finding]:
    """Return the possible problems in a text.

    Args:
        corpus: The text.

    Raises:
        CharlmError: ids.bin has become shorter.

    """
    corpus.check_size()
    seen = np.concatenate(spaced(corpus.ids, count=PARTS, size=MAX_CHARACTERS // PARTS))
    vocabulary, found = corpus.vocabulary, list[Finding]()
    if vocabulary.level == "char":
        characters = [character or "" for character in vocabulary.characters]
        text = "".join([characters[index] for index in seen.tolist()])
        found = [*_check_encoding(text), *_check_line_ends(text)]
    return [*find_omissions(corpus), *found, *_check_repeats(seen), *_check_validation(corpus)]


def find_omissions(corpus: Corpus) -> Iterator[Finding]:
    """Find what of the text was left out when it was tokenized: rare characters, and files."""
    manifest = corpus.manifest
    if (rare := manifest.rare) is not None:
        known = sum(character is not None for character in corpus.vocabulary.characters)
        named = ", ".join(map(repr, rare.commonest))
        found = (
            f"{rare.distinct:,} of {known + rare.distinct:,} share the unknown id, "
            f"{rare.occurrences / manifest.characters:.2%} of the text; the commonest are {named}"
        )
        advice = f"corpus.min_count={manifest.min_count} decides it, and -s corpus.min_count=1 keeps all"
        yield Finding("rare characters", found, advice)
    if manifest.undecodable:
        found = (
            f"{len(manifest.undecodable):,} left out, not valid {manifest.encoding}: {name_some(manifest.undecodable)}"
        )
        yield Finding("undecodable files", found, f"if they are text, convert them to {manifest.encoding}")
    if manifest.empty:
        found = f"{len(manifest.empty):,} left out: {name_some(manifest.empty)}"
        yield Finding("empty files", found, "they are no documents of the corpus")


def spaced(ids: NDArray[Any], *, count: int, size: int) -> list[NDArray[Any]]:
    """Return parts of a text at equal distances, or the whole text if it is shorter than they are together.

    Args:
        ids: Integers [n].
        count: The number of parts, 1 or more.
        size: The length of each, 1 or more.

    """
    if len(ids) < count * size:
        return [ids]
    starts = np.linspace(0, len(ids) - size, count).astype(int)
    return [ids[start : start + size] for start in starts]


def _check_encoding(text: str) -> Iterator[Finding]:
    """Find UTF-8 that was read as cp1252 or Latin-1, and characters that are lost."""
    runs = Counter(re.findall(r"[^\x00-\x7f]+", text))
    decoded = {run: again for run in runs if (again := _decode_again(run)) is not None}
    characters = sum(len(decoded[run]) * runs[run] for run in decoded)
    misread, others = (sum(len(run) * runs[run] for run in some) for some in (decoded, runs.keys() - decoded.keys()))
    if characters >= MIN_OCCURRENCES and misread > others:
        advice = (
            "-s corpus.encoding=utf-8, or if that is so, decode it once more: iconv -f UTF-8 -t CP1252 TEXT > NEWTEXT"
        )
        yield Finding("encoding", f"{characters:,} characters are UTF-8 that was read as another encoding", advice)
        return
    if lost := text.count(UNKNOWN_GLYPH):
        found = f"{counted(lost, 'character')} U+FFFD, which another program wrote for what it could not decode"
        yield Finding("encoding", found, "take the original text, with -s corpus.encoding=NAME")


def _decode_again(text: str) -> str | None:
    """Return the text of which another one is the UTF-8, read as cp1252 or Latin-1; None if it is not such a text."""
    for encoding in ("cp1252", "latin-1"):
        with contextlib.suppress(UnicodeError):
            return text.encode(encoding).decode("utf-8")
    return None


ONE_KIND = r"make them one kind: perl -pe 's/\r\n?/\n/g' TEXT > NEWTEXT"


def _check_line_ends(text: str) -> Iterator[Finding]:
    """Find line ends of more than one kind."""
    both = text.count("\r\n")
    counts = {r"\r\n": both, r"\n": text.count("\n") - both, r"\r": text.count("\r") - both}
    kinds = [f"{count:,} {name}" for name, count in counts.items() if count >= MIN_OCCURRENCES]
    if len(kinds) > 1:
        yield Finding("line ends", f"mixed: {', '.join(kinds)}", ONE_KIND)


def _check_repeats(ids: Ids) -> Iterator[Finding]:
    """Find long passages that occur more than once."""
    share = repeated_share(ids)
    if share > MAX_REPEATED:
        found = f"{share:.0%} of the text repeats passages of {WINDOW} characters or more"
        advice = "delete the copies: they are memorised, and flatter the loss if they are in the validation text"
        yield Finding("repeated passages", found, advice)


MAX_UNSEEN = 0.005
"""Each character that the training text lacks costs about 10 nats, so that this share of them costs 0.05 on average."""


def _check_validation(corpus: Corpus) -> Iterator[Finding]:
    """Find a validation text with characters that the training text lacks, as another language has them."""
    training, validation = (
        np.bincount(
            np.concatenate(spaced(corpus.split(name), count=PARTS, size=MAX_CHARACTERS // PARTS)),
            minlength=len(corpus.vocabulary),
        )
        for name in ("train", "validation")
    )
    unseen = int(validation[training == 0].sum())
    if unseen >= MIN_OCCURRENCES and unseen > MAX_UNSEEN * validation.sum():
        found = f"of another kind than the training text: {unseen / validation.sum():.1%} of its characters are new"
        advice = "mix the parts of the text, or choose another -s corpus.validation_fraction"
        yield Finding("validation text", found, advice)
