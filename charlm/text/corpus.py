"""A corpus: text as ids on disk, memory-mapped and split into training, validation and test text.

A corpus is a folder with `ids.npy`, a NumPy array, and `corpus.json`, which holds the vocabulary,
the splits and the sources. `charlm.text.tokenization` makes a corpus from text.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from charlm.config.file import parse_stored
from charlm.config.schema import CorpusConfig, Positive
from charlm.core.vocabulary import Ids, Vocabulary, vocabulary_of
from charlm.errors import CharlmError
from charlm.storage import open_file, read_file
from charlm.wording import counted, short_repr

IDS_FILE = "ids.npy"
CORPUS_FILE = "corpus.json"
Split = Literal["train", "validation", "test"]
MAX_MANIFEST_BYTES = 1 << 30
"""Maximum size of corpus.json, enough for millions of documents."""
BLOCK = 1 << 20
"""Number of ids counted at a time; NumPy converts them to int64 first."""


class Source(BaseModel):
    """A document, as recorded in corpus.json."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    """Name in messages."""
    bytes: int
    """Size in bytes after decompression."""
    characters: int
    """Number of characters after normalisation."""
    sha256: str
    """Digest of the bytes after decompression."""
    invalid: int = 0
    """Number of U+FFFD, for bytes that are not valid, if `errors` is `replace`."""


class Rare(BaseModel):
    """The characters of a text that share the unknown id, as recorded in corpus.json."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    distinct: int
    """Number of different characters."""
    occurrences: int
    """Number of occurrences of all these characters together."""


class Manifest(CorpusConfig):
    """The contents of corpus.json: the text and the settings that the ids were made from."""

    format: Literal[3]
    charlm: str
    """Version of charlm that made the corpus."""
    name: Annotated[str, Field(min_length=1)]
    """Name of the text in messages and in the folder name of a run."""
    min_count: Positive
    rare: Rare | None = None
    """Rare characters; None = every character has its own id, or rare characters were not
    recorded."""
    sources: tuple[Source, ...]
    left_out: dict[str, str]
    """Reason for each file that was left out, by its name: empty, not valid in the encoding."""
    size: Positive
    """Number of ids, including the ids between documents."""
    ids_sha256: str
    """Digest of the ids in ids.npy, little-endian."""
    splits: dict[Split, tuple[int, int]]
    """Start and end of train, validation and test, which follow one another in ids.npy."""
    vocabulary: dict[str, Any]
    """Fields of the vocabulary, see `charlm.core.vocabulary.Vocabulary.to_fields`."""

    @model_validator(mode="after")
    def _check_splits(self) -> "Manifest":
        expected = split_positions(self.size, self)
        if self.splits != expected:
            raise ValueError(f"splits: must be {expected}, by the size and the fractions")
        return self

    @property
    def characters(self) -> int:
        """Number of characters in all documents."""
        return sum(source.characters for source in self.sources)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Text as ids on disk."""

    folder: Path
    vocabulary: Vocabulary
    ids: Ids
    """[size], memory-mapped and read-only, in the dtype of the vocabulary."""
    manifest: Manifest

    def split(self, name: Split) -> Ids:
        """Return the ids of a split as a view, [n]."""
        start, end = self.manifest.splits[name]
        return self.ids[start:end]

    @property
    def summary(self) -> str:
        """The size of the text, its vocabulary and its documents in a line for the user."""
        characters = counted(self.manifest.characters, "character")
        documents = counted(len(self.manifest.sources), "document")
        return f"{characters}, a vocabulary of {self.vocabulary.distinct:,}, {documents}"


def is_corpus(path: Path) -> bool:
    """Return whether a path is a corpus; raises OSError if the path cannot be read."""
    return (path / CORPUS_FILE).is_file()


def is_one_corpus(sources: Sequence[str]) -> bool:
    """Return whether the sources of a text are the folder of one corpus."""
    return len(sources) == 1 and is_corpus(Path(sources[0]))


def split_positions(size: int, config: CorpusConfig) -> dict[Split, tuple[int, int]]:
    """Return the start and end of train, validation and test, in this order.

    Validation starts at floor(size * (1 - validation_fraction - test_fraction)), at least at 1;
    test starts at floor(size * (1 - test_fraction)). The fractions are exact decimal numbers.

    Args:
        size: Number of ids, 1 or more.
        config: The fractions.

    """
    validation = Fraction(str(config.validation_fraction))
    test = Fraction(str(config.test_fraction))
    train_end = max(1, math.floor(size * (1 - validation - test)))
    validation_end = max(train_end, math.floor(size * (1 - test)))
    return {
        "train": (0, train_end),
        "validation": (train_end, validation_end),
        "test": (validation_end, size),
    }


def open_corpus(folder: Path, *, verify: bool = True) -> Corpus:
    """Open the corpus in a folder.

    Args:
        folder: The folder.
        verify: Whether to read ids.npy, and compare its digest with corpus.json and its ids with
            the vocabulary. Only a file that this process has just written needs no verification.

    Raises:
        CharlmError: A file is missing or damaged, or the files do not belong together.

    """
    manifest = read_manifest(folder)
    path = folder / IDS_FILE
    vocabulary = vocabulary_of(manifest.vocabulary, origin=str(folder / CORPUS_FILE))
    header = ids_header(manifest.size, vocabulary.dtype)
    damaged = CharlmError(
        f"{path}: damaged; expected the {manifest.size:,} ids of type {vocabulary.dtype} "
        f"that {CORPUS_FILE} describes; tokenize the text again"
    )
    with open_file(path) as file:
        is_intact = file.read(len(header)) == header
        if verify:  # reading the file uses less memory than mapping it
            is_intact &= hashlib.file_digest(file, "sha256").hexdigest() == manifest.ids_sha256
    if not is_intact:
        raise damaged
    ids = np.memmap(path, vocabulary.dtype, "r", len(header), (manifest.size,))
    if verify and not 0 <= ids.min() <= ids.max() < len(vocabulary):
        raise damaged
    return Corpus(folder=folder, vocabulary=vocabulary, ids=ids, manifest=manifest)


def ids_header(size: int, dtype: "np.dtype[Any]") -> bytes:
    """Return the header of the .npy file of `size` ids."""
    descr = np.lib.format.dtype_to_descr(dtype)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": descr, "fortran_order": False, "shape": (size,)}
    )
    return buffer.getvalue()


def read_manifest(folder: Path) -> Manifest:
    """Read corpus.json; raises CharlmError if it is missing or not valid."""
    path = folder / CORPUS_FILE
    data = read_file(path, limit=MAX_MANIFEST_BYTES)
    return parse_stored(Manifest, data, origin=f"{path}: not a valid corpus")


def resolve_corpus_settings(corpus: Corpus, config: CorpusConfig) -> CorpusConfig:
    """Return the settings that a corpus was made with.

    Args:
        corpus: The corpus.
        config: The settings of the user. A setting that is neither left out nor null must have the
            value that the corpus was made with.

    Raises:
        CharlmError: A setting differs; the message names the key.

    """
    resolved = corpus.manifest.model_dump(include=set(CorpusConfig.model_fields))
    for key, value in config.model_dump(exclude_unset=True, exclude_none=True).items():
        if value != resolved[key]:
            raise CharlmError(
                f"corpus.{key}: found {short_repr(value)}, but {corpus.folder} was made with "
                f"{short_repr(resolved[key])}; leave the setting out, or tokenize the text again"
            )
    return CorpusConfig(**resolved)


def count_ids(ids: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Return how often each id occurs, int64 [size].

    Args:
        ids: Integers [n], 0 to size - 1, which may be memory-mapped.
        size: The number of different ids, 1 or more.

    """
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), BLOCK):
        counts += np.bincount(ids[start : start + BLOCK], minlength=size)
    return counts
