"""What in a text would make a network worse, and what helps: a look at it before training.

A text of more than MAX_CHARACTERS is looked at in parts, so that the time does not grow with its size.
"""

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from charlm.text.corpus import Corpus
from charlm.text.repeats import WINDOW, repeated_share
from charlm.text.shift import measure_shift, spaced
from charlm.text.vocabulary import UNKNOWN_GLYPH, Ids, Vocabulary

MAX_CHARACTERS = 2_000_000
PARTS = 20
"""The number of parts that are looked at in a longer text."""
MAX_REPEATED = 0.02
"""The largest share of a text in repeated passages that is not worth a word."""
MIN_OCCURRENCES = 5
"""What occurs less often is taken for chance."""
RARE = 10
"""Characters that occur less often than this count as rare: a network hardly learns when they come."""
MAX_RARE_SHARE = 0.2
"""The largest share of the distinct characters that may be rare without a word."""

CONTROLS = range(0x80, 0xA0)
"""The code points of Latin-1's control characters, which are letters and quotes in cp1252."""
CONTINUATION = 1
"""What stands for a byte of UTF-8 that continues a sequence."""


@dataclass(frozen=True)
class Finding:
    """Something in a text that would make a network worse."""

    subject: str
    """encoding, rare characters, line ends, repeated passages or validation text."""
    found: str
    """In a few words, for the user."""
    advice: str
    """What helps: a setting, or what to do with the text."""

    @property
    def line(self) -> str:
        """All of it in a line for the user."""
        return f"{self.subject}: {self.found}; {self.advice}"


def look_at(corpus: Corpus, rare: Mapping[str, int] | None) -> list[Finding]:
    """Return what in a text would make a network worse.

    Args:
        corpus: The text.
        rare: The count of each rare character, None = not counted.

    Raises:
        CharlmError: an id is not in the vocabulary, or ids.bin has become shorter.

    """
    corpus.check_size()
    parts = spaced(corpus.ids, count=PARTS, size=MAX_CHARACTERS // PARTS)
    for part in parts:
        corpus.check_ids(part)
    seen, vocabulary = np.concatenate(parts), corpus.vocabulary
    found = [*_look_at_repeats(seen), *_look_at_validation(corpus)]
    if vocabulary.level == "char":
        found = [
            *_look_at_encoding(seen, vocabulary, encoding=corpus.manifest.encoding),
            *_look_at_rare(rare or {}, vocabulary),
            *_look_at_line_ends(seen, vocabulary),
            *found,
        ]
    return found


def _look_at_encoding(ids: Ids, vocabulary: Vocabulary, *, encoding: str) -> Iterator[Finding]:
    """Find UTF-8 that was read as cp1252 or Latin-1, cp1252 that was read as Latin-1, and characters that are lost."""
    sequences, share = _utf8_sequences(ids, vocabulary)
    if sequences >= MIN_OCCURRENCES and share > 0.5:
        if codecs.lookup(encoding).name == "utf-8":
            advice = "decode it once more: iconv -f UTF-8 -t CP1252 TEXT > NEWTEXT"
        else:
            advice = "-s corpus.encoding=utf-8"
        yield Finding("encoding", f"{sequences:,} characters are UTF-8 that was read as another encoding", advice)
        return
    if controls := _count(ids, vocabulary, map(chr, CONTROLS)):
        yield Finding("encoding", f"{controls:,} characters are controls of Latin-1", "-s corpus.encoding=cp1252")
    if lost := _count(ids, vocabulary, UNKNOWN_GLYPH):
        found = f"{lost:,} characters are U+FFFD, which another program wrote for what it could not decode"
        yield Finding("encoding", found, "take the original text, with -s corpus.encoding=NAME")


def _utf8_sequences(ids: Ids, vocabulary: Vocabulary) -> tuple[int, float]:
    """Return how many sequences of characters are UTF-8 if cp1252 encodes them, as those of an accented letter are.

    Returns:
        Their number, and the share of them among the characters that cp1252 encodes as a byte from 0x80 on.

    """
    kinds = np.array([_kind_of_byte(character) for character in vocabulary.characters], np.int8)[ids]
    continues = np.append(kinds[1:] == CONTINUATION, [False, False])
    pairs = int(np.count_nonzero((kinds == 2) & continues[:-1]))
    triples = int(np.count_nonzero((kinds == 3) & continues[:-1] & continues[1:]))
    return pairs + triples, (2 * pairs + 3 * triples) / max(1, int(np.count_nonzero(kinds)))


def _kind_of_byte(character: str | None) -> int:
    """Return what the byte of a character in cp1252 is in UTF-8: CONTINUATION, the length of what it leads, or 0.

    The five bytes that cp1252 does not have are the control characters of Latin-1.
    """
    byte = 0
    if character is not None:
        byte = ord(character) if ord(character) in CONTROLS else next(iter(character.encode("cp1252", "ignore")), 0)
    if 0x80 <= byte < 0xC0:
        return CONTINUATION
    return 2 if 0xC2 <= byte < 0xE0 else 3 if 0xE0 <= byte < 0xF0 else 0


def _look_at_rare(rare: Mapping[str, int], vocabulary: Vocabulary) -> Iterator[Finding]:
    """Find a vocabulary of which much is rare."""
    distinct = sum(character is not None for character in vocabulary.characters)
    if len(rare) > max(MIN_OCCURRENCES, MAX_RARE_SHARE * distinct):
        found = f"{len(rare):,} of {distinct:,} distinct characters occur fewer than {RARE} times"
        yield Finding("rare characters", found, f"-s corpus.min_count={RARE} gives them one id")


def _look_at_line_ends(ids: Ids, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Find line ends of more than one kind."""
    characters = np.array([character or "" for character in vocabulary.characters])
    is_return, is_feed = (characters == "\r")[ids], (characters == "\n")[ids]
    both = int(np.count_nonzero(is_return[:-1] & is_feed[1:]))
    counts = {r"\r\n": both, r"\n": int(is_feed.sum()) - both, r"\r": int(is_return.sum()) - both}
    kinds = [f"{count:,} {name}" for name, count in counts.items() if count >= MIN_OCCURRENCES]
    if len(kinds) > 1:
        yield Finding("line ends", f"mixed: {', '.join(kinds)}", "make them one kind: tr -d '\\r' < TEXT > NEWTEXT")


def _look_at_repeats(ids: Ids) -> Iterator[Finding]:
    """Find long passages that occur more than once."""
    share = repeated_share(ids)
    if share > MAX_REPEATED:
        found = f"{share:.0%} of the text repeats passages of {WINDOW} characters or more"
        advice = "delete the copies: they are learnt by heart, and flatter the loss if they are in the validation text"
        yield Finding("repeated passages", found, advice)


def _look_at_validation(corpus: Corpus) -> Iterator[Finding]:
    """Find a validation text of another kind than the training text."""
    training, validation = (corpus.split(name, check=False) for name in ("train", "validation"))
    shift = measure_shift(training, validation, vocabulary_size=len(corpus.vocabulary))
    if shift is not None and shift.is_large:
        found = (
            f"of another kind than the training text: {shift.distance:.0%} of its characters are distributed otherwise "
            f"(of parts of the training text up to {shift.usual_distance:.0%}), {shift.unseen:.1%} are new"
        )
        advice = "mix the parts of the text, or choose another -s corpus.validation_fraction"
        yield Finding("validation text", found, advice)


def _count(ids: Ids, vocabulary: Vocabulary, characters: Iterable[str]) -> int:
    """Return how many of some ids are those of some characters."""
    wanted = {*characters}
    return int(np.count_nonzero(np.array([character in wanted for character in vocabulary.characters])[ids]))
