"""A corpus: text as ids on disk, memory-mapped and split into training, validation and test text.

A corpus is a folder with `ids.npy`, an array of NumPy, and `corpus.json`: the vocabulary, the splits and the sources.
Making one from text is left to `charlm.text.tokenization`.
"""

import hashlib
import io
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from charlm.config.file import explain
from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.storage import open_file, read_file
from charlm.text.documents import name_text
from charlm.text.vocabulary import Ids, Vocabulary, vocabulary_of
from charlm.wording import counted, short_repr

IDS_FILE, CORPUS_FILE = "ids.npy", "corpus.json"
Split = Literal["train", "validation", "test"]
SPLITS = get_args(Split)
MAX_MANIFEST_BYTES = 1 << 30
"""Enough for millions of documents."""
BLOCK = 1 << 20
"""Ids that are counted at a time: NumPy converts them to int64 first."""


class Source(BaseModel):
    """A document, as recorded in corpus.json."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    """As messages show it."""
    bytes: int
    """After decompression."""
    characters: int
    """After normalisation."""
    sha256: str
    """Of the bytes after decompression."""


class Rare(BaseModel):
    """The characters of a text that share the unknown id, as recorded in corpus.json."""

    model_config = ConfigDict(frozen=True, strict=True)

    distinct: int
    """How many different ones there are."""
    occurrences: int
    """How often they occur, all together."""
    commonest: str
    """At most MAX_NAMED of them, the commonest first."""


class Manifest(CorpusConfig):
    """The contents of corpus.json: which text the ids were made from, and with which settings."""

    format: Literal[2]
    charlm: str
    """Version of charlm that wrote the corpus."""
    min_count: int
    rare: Rare | None = None
    """None = every character has an id of its own, or this was not recorded."""
    sources: tuple[Source, ...]
    left_out: dict[str, str]
    """Why files were left out, by their names: empty, not valid in the encoding."""
    size: int
    """Number of ids, those between documents included."""
    ids_sha256: str
    """Of the ids in ids.npy, little-endian."""
    splits: dict[Split, tuple[int, int]]
    """Start and end of train, validation and test as positions in ids.npy; each starts where the one before ends."""
    vocabulary: dict[str, Any]
    """See `charlm.text.vocabulary.Vocabulary.to_fields`."""

    @field_validator("splits")
    @classmethod
    def _are_all_there(cls, found: dict[Split, tuple[int, int]]) -> dict[Split, tuple[int, int]]:
        if {*found} != {*SPLITS}:
            raise ValueError(f"must have {', '.join(SPLITS)}")
        return found

    @property
    def characters(self) -> int:
        """The number of characters of all documents together."""
        return sum(source.characters for source in self.sources)

    @property
    def text_name(self) -> str:
        """The name of the text, for the user and for the folder of a run."""
        return name_text([source.name for source in self.sources])


@dataclass(frozen=True, eq=False)
class Corpus:
    """Text as ids on disk."""

    folder: Path
    vocabulary: Vocabulary
    ids: Ids
    """[size], memory-mapped and read-only: uint8, uint16 or int32, the smallest that holds the vocabulary."""
    manifest: Manifest

    @property
    def splits(self) -> dict[Split, tuple[int, int]]:
        """Start and end of train, validation and test in `ids`."""
        return self.manifest.splits

    def split(self, name: Split, *, at_most: int | None = None) -> Ids:
        """Return the ids of a part of the text.

        Args:
            name: Which part.
            at_most: The number of ids at its beginning to return, 0 or more; None = all.

        Returns:
            A view of `ids`, [n]; n may be 0.

        """
        start, end = self.splits[name]
        return self.ids[start:end][:at_most]

    @property
    def summary(self) -> str:
        """One line for the user: the size of the text, its vocabulary, and the ids in each split."""
        sizes = (f"{name} {end - start:,}" for name, (start, end) in self.splits.items())
        return f"{self.size_summary}: {', '.join(sizes)}"

    @property
    def size_summary(self) -> str:
        """The size of the text, its vocabulary and its documents, for the user."""
        distinct = sum(character is not None for character in self.vocabulary.characters)
        text = f"{counted(self.manifest.characters, 'character')}, a vocabulary of {distinct:,}"
        return f"{text}, {counted(len(self.manifest.sources), 'document')}"


def is_corpus(path: Path) -> bool:
    """Return whether a path is a folder that `tokenize` wrote; raises OSError if it cannot be looked up."""
    return (path / CORPUS_FILE).is_file()


def split_positions(size: int, config: CorpusConfig) -> dict[Split, tuple[int, int]]:
    """Return the start and end of train, validation and test, in this order.

    Validation starts at floor(size * (1 - validation_fraction - test_fraction)), but at 1 at least; test starts at
    floor(size * (1 - test_fraction)). The fractions are taken as the decimal numbers that were written.

    Args:
        size: Number of ids, 1 or more.
        config: The fractions.

    """
    validation, test = (
        Fraction(str(f)) for f in (config.validation_fraction, config.test_fraction)
    )
    train_end = max(1, math.floor(size * (1 - validation - test)))
    validation_end = max(train_end, math.floor(size * (1 - test)))
    return {
        "train": (0, train_end),
        "validation": (train_end, validation_end),
        "test": (validation_end, size),
    }


def open_corpus(folder: Path, *, verify: bool = True) -> Corpus:
    """Open a folder that `tokenize` wrote.

    Args:
        folder: The folder.
        verify: Whether to read ids.npy once, and refuse it unless it is the file that corpus.json describes. Only for
            a file that this process has just written there is no need.

    Raises:
        CharlmError: a file is missing or damaged, or the files do not belong together.

    """
    manifest, path = read_manifest(folder), folder / IDS_FILE
    vocabulary = vocabulary_of(manifest.vocabulary, origin=str(folder / CORPUS_FILE))
    header = ids_header(manifest.size, vocabulary.dtype)
    with open_file(path) as file:
        is_described = file.read(len(header)) == header
        if verify:  # the file is read, not mapped, so that it does not count as memory in use
            is_described &= hashlib.file_digest(file, "sha256").hexdigest() == manifest.ids_sha256
    if not is_described:
        expected = f"the {manifest.size:,} ids of {vocabulary.dtype}"
        raise CharlmError(
            f"{path}: damaged: not {expected} that {CORPUS_FILE} describes: tokenize the text again"
        )
    ids = np.memmap(path, vocabulary.dtype, "r", len(header), (manifest.size,))
    return Corpus(folder=folder, vocabulary=vocabulary, ids=ids, manifest=manifest)


def ids_header(size: int, dtype: "np.dtype[Any]") -> bytes:
    """Return how ids.npy begins, given the number of ids and their dtype: as NumPy writes it."""
    buffer = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (size,),
    }
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def read_manifest(folder: Path) -> Manifest:
    """Return what corpus.json holds; raises CharlmError if it is missing or not valid."""
    path = folder / CORPUS_FILE
    try:
        return Manifest.model_validate_json(read_file(path, limit=MAX_MANIFEST_BYTES))
    except ValidationError as error:
        raise CharlmError(f"{path}: not that of a corpus: {explain(error, Manifest)}") from None


def resolve_corpus_settings(corpus: Corpus, given: CorpusConfig) -> CorpusConfig:
    """Return the settings that a corpus was made with, as its manifest has them.

    Args:
        corpus: What `open_corpus` returned.
        given: The settings of the config; those that were written, not left out or null, must be the settings of the
            corpus.

    Raises:
        CharlmError: a setting that was written is not that of the corpus; the message names the key.

    """
    made = corpus.manifest.model_dump(include=set(CorpusConfig.model_fields))
    for key, value in given.model_dump(exclude_unset=True, exclude_none=True).items():
        if value != made[key]:
            raise CharlmError(
                f"corpus.{key}: found {short_repr(value)}, but {corpus.folder} was made with {short_repr(made[key])}; "
                f"leave the setting out, or tokenize the text again"
            )
    return CorpusConfig(**made)


def count_ids(ids: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Return how often each id occurs.

    Args:
        ids: Integers [n], 0 to size - 1; memory-mapped ones are read block by block.
        size: V, the number of ids, 1 or more.

    Returns:
        int64 [V].

    """
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), BLOCK):
        counts += np.bincount(ids[start : start + BLOCK], minlength=size)
    return counts
