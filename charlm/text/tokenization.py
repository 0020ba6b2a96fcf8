"""Text files -> a corpus on disk. The files are read twice, and are never in memory as a whole.

Finding documents is left to `charlm.text.documents`, decoding them to `charlm.text.decoding`, opening a corpus to
`charlm.text.corpus`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from charlm import __version__
from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.storage.scratch import scratch_folder
from charlm.text.corpus import (
    FORMAT,
    Corpus,
    Manifest,
    Source,
    is_corpus,
    open_corpus,
    split_positions,
    stored_dtype,
)
from charlm.text.decoding import CODE_POINTS, check_encoding, code_points, texts
from charlm.text.documents import BLOCK_BYTES, Advance, Document, find_documents
from charlm.text.vocabulary import Vocabulary

Consume = Callable[[str], None]
"""Takes the text of a document, piece by piece."""
Read = Callable[[Document, Consume], Source]
"""Passes the text of a document on; returns what the document held."""


def tokenize(
    sources: Sequence[str],
    out: Path,
    config: CorpusConfig,
    *,
    progress: bool = False,
    advance: Advance = lambda _: None,
    block_bytes: int = BLOCK_BYTES,
) -> Corpus:
    """Write the text of some sources as a corpus, and open it.

    Each file is a document; between two documents is the end_of_text id. The text is read twice, once to count its
    characters and once to write their ids. Neither the text nor the ids are in memory as a whole.

    Args:
        sources: Files, folders, glob patterns, .gz files, or `-` for standard input.
        out: The folder of the corpus, missing or empty. It appears when it is complete.
        config: How the text is decoded, turned into ids and split.
        progress: Whether to show a progress bar on standard error, in bytes.
        advance: Is called for each block that has been read, in both passes.
        block_bytes: Largest number of bytes read at a time, 1 or more.

    Raises:
        CharlmError: `out` holds something or cannot be written; a setting does not apply at this level; a source does
            not exist, cannot be read or decoded, is a corpus, or changes between the two passes; or there is no text.

    """
    _check(config)
    target = Path(os.path.realpath(out))  # unlike resolve, accepts a link to itself
    try:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise CharlmError(f"{out}: exists already; give a new or an empty folder, or delete this one")
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target) as scratch:  # hidden, so that it is no document if `out` is inside a source
            documents = find_documents(sources, spool=scratch / "standard_input")
            _refuse_corpora(documents)
            folder = scratch / "corpus"
            folder.mkdir()
            if not _write(folder, documents, config, progress=progress, advance=advance, block_bytes=block_bytes):
                raise CharlmError(f"{', '.join(sources)}: no text")
            if target.exists():
                target.rmdir()  # Windows does not rename onto an empty folder
            folder.rename(target)
    except OSError as error:
        raise CharlmError(f"{out}: cannot be written: {error.strerror}") from None
    return open_corpus(out)


def _check(config: CorpusConfig) -> None:
    if config.level == "char":
        check_encoding(config.encoding)
    elif config.normalize != "none":
        raise CharlmError(f"corpus.normalize: found {config.normalize}; at level byte only none applies")
    elif config.min_count > 1:
        raise CharlmError(f"corpus.min_count: found {config.min_count}; at level byte only 1 applies")


def _refuse_corpora(documents: Sequence[Document]) -> None:
    for folder in {document.path.parent for document in documents}:
        if is_corpus(folder):
            raise CharlmError(f"{folder}: is a corpus that charlm tokenize wrote, not text")


def _write(
    folder: Path,
    documents: Sequence[Document],
    config: CorpusConfig,
    *,
    progress: bool,
    advance: Advance,
    block_bytes: int,
) -> bool:
    """Write the files of a corpus, manifest.json last; return False if there is no text."""
    total = 2 * sum(document.file_bytes() for document in documents)
    with tqdm(total=total, unit="B", unit_scale=True, desc="counting", disable=not progress) as bar:

        def advance_bar(count: int) -> None:
            bar.update(count)
            advance(count)

        read = partial(_read, config=config, advance=advance_bar, block_bytes=block_bytes)
        counts, found = _count_characters(documents, read)
        if not found:
            return False
        vocabulary = _build_vocabulary(counts, config, end_of_text=len(found) > 1)
        bar.set_description("encoding")
        ids_sha256 = _write_ids(folder / "ids.bin", found, vocabulary, read)
    manifest = _make_manifest(tuple(found.values()), vocabulary, config, ids_sha256=ids_sha256)
    (folder / "vocabulary.json").write_text(vocabulary.to_json(), encoding="utf-8")
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return True


def _make_manifest(
    sources: tuple[Source, ...], vocabulary: Vocabulary, config: CorpusConfig, *, ids_sha256: str
) -> Manifest:
    characters = sum(source.characters for source in sources)
    size = characters + len(sources) - 1
    return Manifest(
        format=FORMAT,
        charlm=__version__,
        **config.model_dump(),
        sources=sources,
        characters=characters,
        dtype=vocabulary.dtype.name,
        size=size,
        ids_sha256=ids_sha256,
        splits=split_positions(size, config),
    )


def _count_characters(documents: Sequence[Document], read: Read) -> tuple[NDArray[np.int64], dict[Document, Source]]:
    """Return how often each code point occurs, int64 [code points], and what the documents with text hold."""
    counts = np.zeros(CODE_POINTS, np.int64)

    def add(text: str) -> None:
        found = _bincount(code_points(text))
        counts[: len(found)] += found

    held = {document: read(document, add) for document in documents}
    return counts, {document: source for document, source in held.items() if source.characters}


def _bincount(values: NDArray[np.uint8] | NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return how often each number from 0 up occurs, int64 [highest + 1 or more]."""
    if values.dtype != np.uint8 or len(values) % 2:
        return np.bincount(values)
    # taking bytes in pairs halves the time: bincount converts every value to int64 first
    pairs = np.bincount(values.view(np.uint16), minlength=1 << 16).reshape(1 << 8, 1 << 8)
    counts: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    return counts


def _build_vocabulary(counts: NDArray[np.int64], config: CorpusConfig, *, end_of_text: bool) -> Vocabulary:
    """Return the vocabulary: characters in the order of code points, then the unknown id, then the end_of_text id."""
    if config.level == "byte":
        counts, unknown = np.ones(256, np.int64), False
    else:
        unknown = bool(np.any((counts > 0) & (counts < config.min_count)))
    kept = [chr(code_point) for code_point in np.flatnonzero(counts >= config.min_count)]
    if not kept:
        raise CharlmError(f"corpus.min_count: found {config.min_count}; no character occurs that often")
    return Vocabulary(
        level=config.level,
        characters=(*kept, *[None] * (unknown + end_of_text)),
        unknown_id=len(kept) if unknown else None,
        end_of_text_id=len(kept) + unknown if end_of_text else None,
    )


def _write_ids(path: Path, found: dict[Document, Source], vocabulary: Vocabulary, read: Read) -> str:
    """Write the ids of the documents and return the SHA-256 of the file; a document that has changed is refused."""
    digest = hashlib.sha256()
    to_ids = _encoder(vocabulary)
    with path.open("wb") as file:

        def write(ids: bytes) -> None:
            file.write(ids)
            digest.update(ids)

        for index, (document, source) in enumerate(found.items()):
            if index:
                write(np.array(vocabulary.end_of_text_id, stored_dtype(vocabulary)).tobytes())
            if read(document, lambda text: write(to_ids(text))) != source:
                raise CharlmError(f"{document.name}: changed while it was read; try again when nothing writes to it")
    return digest.hexdigest()


def _encoder(vocabulary: Vocabulary) -> Callable[[str], bytes]:
    """Return a function from text to the bytes of its ids; a character that was not counted gets some other id."""
    table = np.full(CODE_POINTS, vocabulary.unknown_id or 0, stored_dtype(vocabulary))
    known = vocabulary.table >= 0
    table[: len(known)][known] = vocabulary.table[known]
    ascii_table = table[:256].tobytes()

    def to_ids(text: str) -> bytes:
        if table.itemsize == 1 and text.isascii():
            return text.encode("ascii").translate(ascii_table)
        return table.take(code_points(text)).tobytes()

    return to_ids


def _read(document: Document, consume: Consume, *, config: CorpusConfig, advance: Advance, block_bytes: int) -> Source:
    """Pass the text of a document to `consume`; return what the document held."""
    digest = hashlib.sha256()
    size = characters = 0

    def blocks() -> Iterator[bytes]:
        nonlocal size
        for block in document.read(advance=advance, block_bytes=block_bytes):
            digest.update(block)
            size += len(block)
            yield block

    for text in texts(blocks(), config, name=document.name):
        consume(text)
        characters += len(text)
    return Source(name=document.name, bytes=size, characters=characters, sha256=digest.hexdigest())
