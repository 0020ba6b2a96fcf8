"""Text files -> a corpus on disk, read twice and never in memory as a whole.

Finding, decoding and normalising the text is left to `charlm.documents`; what a corpus is, and opening one,
to `charlm.corpus`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from charlm import __version__
from charlm.config import CorpusConfig
from charlm.corpus import FORMAT, Corpus, Manifest, Source, is_corpus, open_corpus, split_positions, stored_dtype
from charlm.documents import (
    CODE_POINTS,
    Document,
    check_encoding,
    code_points,
    find_documents,
    texts,
)
from charlm.errors import CharlmError
from charlm.vocabulary import Vocabulary

Advance = Callable[[int], object]
"""Is told how many bytes of a file were read since the last time."""


def tokenize(sources: Sequence[str], out: Path, config: CorpusConfig, *, progress: bool = False) -> Corpus:
    """Write the text of some sources as a corpus in the folder `out`, and open it.

    Sources are files, folders, glob patterns, .gz files or `-` for standard input; each file is a document,
    and between two documents stands the end_of_text id. The text is read twice, once to find its characters
    and once to write their ids; neither it nor the ids are ever in memory as a whole. `out` appears only once
    it is complete. `progress` shows a bar on standard error, in bytes.

    Raises CharlmError where `out` holds something already or cannot be written, a setting does not apply, a
    source cannot be found, read or decoded, changes while it is read, or there is no text in any.
    """
    _check(config)
    target = Path(os.path.realpath(out))  # unlike resolve, does not mind a link to itself
    try:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise CharlmError(f"{out}: exists already; give a new or an empty folder, or delete this one")
        target.parent.mkdir(parents=True, exist_ok=True)
        # hidden, so that it is no document where out lies inside a source
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            documents = find_documents(sources, spool=Path(scratch) / "standard_input")
            _refuse_corpora(documents)
            folder = Path(scratch) / "corpus"
            folder.mkdir()
            if not _write(folder, documents, config, progress=progress):
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


def _write(folder: Path, documents: Sequence[Document], config: CorpusConfig, *, progress: bool) -> bool:
    """Write the files of a corpus, manifest.json last; return False if there is no text."""
    total = 2 * sum(document.path.stat().st_size for document in documents)
    with tqdm(total=total, unit="B", unit_scale=True, desc="counting", disable=not progress) as bar:
        counts, found = _count_characters(documents, config, bar.update)
        if not found:
            return False
        vocabulary = _build_vocabulary(counts, config, end_of_text=len(found) > 1)
        bar.set_description("encoding")
        ids_sha256 = _write_ids(folder / "ids.bin", found, vocabulary, config, bar.update)
    sources = tuple(found.values())
    characters = sum(source.characters for source in sources)
    size = characters + len(sources) - 1
    manifest = Manifest(
        format=FORMAT,
        charlm=__version__,
        **config.model_dump(include={"level", "encoding", "normalize", "min_count"}),
        sources=sources,
        characters=characters,
        dtype=vocabulary.dtype.name,
        size=size,
        ids_sha256=ids_sha256,
        splits=split_positions(size, config),
    )
    (folder / "vocabulary.json").write_text(vocabulary.to_json(), encoding="utf-8")
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return True


def _count_characters(
    documents: Sequence[Document], config: CorpusConfig, advance: Advance
) -> tuple[NDArray[np.int64], dict[Document, Source]]:
    """Return how often each code point occurs, and the documents that are not empty with what they hold."""
    counts = np.zeros(CODE_POINTS, np.int64)

    def add(text: str) -> None:
        found = _bincount(code_points(text))
        counts[: len(found)] += found

    read = {document: _read(document, config, add, advance) for document in documents}
    return counts, {document: source for document, source in read.items() if source.characters}


def _bincount(values: NDArray[np.uint8] | NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return how often each number from 0 up occurs, int64 [highest + 1 or more]."""
    if values.dtype != np.uint8 or len(values) % 2:
        return np.bincount(values)
    # bytes two by two take half the time: bincount turns every value into an int64 first
    pairs = np.bincount(values.view(np.uint16), minlength=1 << 16).reshape(1 << 8, 1 << 8)
    counts: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    return counts


def _build_vocabulary(counts: NDArray[np.int64], config: CorpusConfig, *, end_of_text: bool) -> Vocabulary:
    """Return the vocabulary: characters by code point, then the unknown id, then the end_of_text id."""
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


def _write_ids(
    path: Path,
    found: dict[Document, Source],
    vocabulary: Vocabulary,
    config: CorpusConfig,
    advance: Advance,
) -> str:
    """Write the ids of the documents; return the SHA-256 of the file.

    Raises CharlmError where a document is no longer what it was when its characters were counted.
    """
    digest = hashlib.sha256()
    to_ids = _encoder(vocabulary)
    with path.open("wb") as file:

        def write(ids: bytes) -> None:
            file.write(ids)
            digest.update(ids)

        for index, (document, source) in enumerate(found.items()):
            if index:
                write(np.array(vocabulary.end_of_text_id, stored_dtype(vocabulary)).tobytes())
            if _read(document, config, lambda text: write(to_ids(text)), advance) != source:
                raise CharlmError(f"{document.name}: changed while it was read; try again when it is at rest")
    return digest.hexdigest()


def _encoder(vocabulary: Vocabulary) -> Callable[[str], bytes]:
    """Return the function from text to ids as bytes; characters never counted become any id."""
    table = np.full(CODE_POINTS, vocabulary.unknown_id or 0, stored_dtype(vocabulary))
    known = vocabulary.table >= 0
    table[: len(known)][known] = vocabulary.table[known]
    ascii_table = table[:256].tobytes()

    def to_ids(text: str) -> bytes:
        """Return the ids of a text, in the dtype that is stored."""
        if table.itemsize == 1 and text.isascii():
            return text.encode("ascii").translate(ascii_table)
        return table.take(code_points(text)).tobytes()

    return to_ids


def _read(document: Document, config: CorpusConfig, consume: Callable[[str], None], advance: Advance) -> Source:
    """Hand the text of a document to `consume`, piece by piece; return what it held."""
    digest = hashlib.sha256()
    size = characters = 0

    def blocks() -> Iterator[bytes]:
        """Yield the bytes of the document as they are counted and hashed."""
        nonlocal size
        for block in document.read(advance=advance):
            digest.update(block)
            size += len(block)
            yield block

    for text in texts(blocks(), config, name=document.name):
        consume(text)
        characters += len(text)
    return Source(name=document.name, bytes=size, characters=characters, sha256=digest.hexdigest())
