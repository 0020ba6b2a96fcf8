"""Text files -> a corpus on disk. The files are read twice, and are never in memory as a whole.

Finding documents is left to `charlm.text.documents`, cutting them into batches to `charlm.text.pieces`, reading a batch
to `charlm.text.passes`, opening a corpus to `charlm.text.corpus`.
"""

import contextlib
import hashlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

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
from charlm.text.decoding import CODE_POINTS, check_encoding
from charlm.text.documents import BLOCK_BYTES, Advance, Document, find_documents
from charlm.text.passes import Held, Placed, Reading, count_batch, digest_document, write_batch
from charlm.text.pieces import PIECE_BYTES, Batch, Piece, cut_documents, make_batches
from charlm.text.vocabulary import Vocabulary
from charlm.text.workers import RunAll, worker_processes

WORKER_BATCHES = 5
"""For each process: to start one takes about as long as to read five batches twice."""


def tokenize(
    sources: Sequence[str],
    out: Path,
    config: CorpusConfig,
    *,
    known: Vocabulary | None = None,
    workers: int = 1,
    progress: bool = False,
    advance: Advance = lambda _: None,
    block_bytes: int = BLOCK_BYTES,
    piece_bytes: int | None = None,
) -> Corpus:
    """Write the text of some sources as a corpus, and open it.

    Each file is a document; between two documents is the end_of_text id. The text is read twice, once to count its
    characters and once to write their ids. Neither the text nor the ids are in memory as a whole. The files are the
    same to the byte for any number of workers. What a killed process has left beside `out` is removed.

    Args:
        sources: Files, folders, glob patterns, compressed files, or `-` for standard input.
        out: The folder of the corpus, missing or empty. It appears when it is complete.
        config: How the text is decoded, turned into ids and split.
        known: A vocabulary of the level in `config`, whose ids the corpus takes over, also those of characters that do
            not occur; None = none.
        workers: The largest number of processes that read, 1 or more; 1 = this process alone, as for a small text. A
            program that asks for more must be importable, that is, start in a block `if __name__ == "__main__"`.
        progress: Whether to show a progress bar on standard error, in bytes.
        advance: Is called with the bytes that have been read since the last call, in both passes.
        block_bytes: Largest number of bytes read at a time, 1 or more.
        piece_bytes: The size of the parts into which a large file is cut; None = whole files for one worker, 16 MiB
            for several.

    Raises:
        CharlmError: `out` holds something or cannot be written; a setting does not apply at this level; a source does
            not exist, cannot be read or decoded, is a corpus, or changes between the two passes; there is no text; or
            a worker was killed.

    """
    _check(config)
    target = Path(os.path.realpath(out))  # unlike resolve, accepts a link to itself
    if piece_bytes is None and workers > 1:
        piece_bytes = PIECE_BYTES
    try:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise CharlmError(f"{out}: exists already; give a new or an empty folder, or delete this one")
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target) as scratch:
            documents = find_documents(sources, spool=scratch / "standard_input")
            _refuse_corpora(documents)
            cut = list(cut_documents(documents, config, piece_bytes=piece_bytes))
            work = _Work(tuple(documents), tuple(make_batches(cut, batch_bytes=piece_bytes or PIECE_BYTES)))
            folder = scratch / "corpus"
            folder.mkdir()
            with _progress(work, advance, disable=not progress) as bar, worker_processes(work.usable(workers)) as run:
                reading = Reading(config, block_bytes, bar.advance if run is map else None)
                has_text = _write(folder, work, reading, known=known, run=run, bar=bar)
            if not has_text:
                raise CharlmError(f"{', '.join(sources)}: no text")
            if target.exists():
                target.rmdir()  # Windows does not rename onto an empty folder
            folder.rename(target)
    except OSError as error:
        raise CharlmError(f"{out}: cannot be written: {error.strerror}") from None
    return open_corpus(out)


@dataclass(frozen=True)
class _Work:
    """What is to be read."""

    documents: tuple[Document, ...]
    batches: tuple[Batch, ...]

    def usable(self, workers: int) -> int:
        """Return how many of some processes have so much to do that it pays to start them, 1 or more."""
        return max(1, min(workers, len(self.batches) // WORKER_BATCHES))

    def cut(self) -> list[Document]:
        """Return the documents that are read in parts."""
        pieces = (piece for batch in self.batches for piece in batch.pieces)
        return list(dict.fromkeys(piece.document for piece in pieces if not piece.is_whole))

    def of(self, documents: Container[Document]) -> Iterator[Batch]:
        """Yield the batches without the pieces of other documents."""
        for batch in self.batches:
            pieces = tuple(piece for piece in batch.pieces if piece.document in documents)
            if pieces:
                yield Batch(pieces, batch.file_bytes)


@dataclass(frozen=True)
class _Bar:
    """A progress bar in bytes, and a function that is told as well."""

    bar: "tqdm[NoReturn]"
    tell: Advance

    def advance(self, count: int) -> None:
        """Count bytes that have been read."""
        self.bar.update(count)
        self.tell(count)


@contextlib.contextmanager
def _progress(work: _Work, tell: Advance, *, disable: bool) -> Iterator[_Bar]:
    total = 2 * sum(batch.file_bytes for batch in work.batches)
    with tqdm(total=total, unit="B", unit_scale=True, desc="counting", disable=disable) as bar:
        yield _Bar(bar, tell)


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


def _write(folder: Path, work: _Work, reading: Reading, *, known: Vocabulary | None, run: RunAll, bar: _Bar) -> bool:
    """Write the files of a corpus, manifest.json last; return False if there is no text."""
    cut = work.cut()
    digests = run(partial(digest_document, reading=reading), cut)  # the longest work that nothing can share: first
    counts, held = _count_characters(work, reading, run=run, bar=bar)
    sources = _describe_sources(work, held, dict(zip(cut, digests, strict=True)))
    found = {document: source for document, source in sources.items() if source.characters}
    if not found:
        return False
    config = reading.config
    vocabulary = _build_vocabulary(
        counts, config, known=known or Vocabulary(config.level, ()), end_of_text=len(found) > 1
    )
    bar.bar.set_description("encoding")
    path = folder / "ids.bin"
    path.touch()
    digest = hashlib.sha256()
    write = partial(write_batch, path=path, vocabulary=vocabulary, reading=reading)
    placed = list(_place(work.of(found), held))
    end = 0
    for each, written in zip(placed, run(write, placed), strict=True):
        for piece, now in zip(each.batch.pieces, written, strict=True):
            if now != held[piece]:
                raise _changed(piece.document)
        if reading.advance is None:
            bar.advance(each.batch.file_bytes)
        start, end = end, each.positions[-1] + written[-1].characters
        _digest_ids(path, start, end, dtype=stored_dtype(vocabulary), digest=digest)
    manifest = _make_manifest(tuple(found.values()), vocabulary, config, ids_sha256=digest.hexdigest())
    (folder / "vocabulary.json").write_text(vocabulary.to_json(), encoding="utf-8")
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return True


def _count_characters(
    work: _Work, reading: Reading, *, run: RunAll, bar: _Bar
) -> tuple[NDArray[np.int64], dict[Piece, Held]]:
    """Return how often each code point occurs, int64 [code points], and what each piece held."""
    counts = np.zeros(CODE_POINTS, np.int64)
    held: dict[Piece, Held] = {}
    results = run(partial(count_batch, reading=reading), work.batches)
    for batch, counted in zip(work.batches, results, strict=True):
        counts[counted.code_points] += counted.counts
        held.update(zip(batch.pieces, counted.held, strict=True))
        if reading.advance is None:
            bar.advance(batch.file_bytes)
    return counts, held


def _describe_sources(
    work: _Work, held: Mapping[Piece, Held], digests: Mapping[Document, tuple[str, str]]
) -> dict[Document, Source]:
    """Return what each document held, given what its pieces held, and the digests of those that were cut."""
    of: dict[Document, list[Held]] = {document: [] for document in work.documents}
    for piece, one in held.items():
        of[piece.document].append(one)
    return {document: _describe_source(document, pieces, digests.get(document)) for document, pieces in of.items()}


def _describe_source(document: Document, pieces: Sequence[Held], digest: tuple[str, str] | None) -> Source:
    """Return what a document held; `digest` is what `digest_document` returned, if it was cut."""
    sha256 = pieces[0].identity
    if digest is not None:
        sha256, identity = digest
        before, after = identity.split()
        if before != after or any(piece.identity != identity for piece in pieces):
            raise _changed(document)
    return Source(
        name=document.name,
        bytes=sum(piece.bytes for piece in pieces),
        characters=sum(piece.characters for piece in pieces),
        sha256=sha256,
    )


def _changed(document: Document) -> CharlmError:
    return CharlmError(f"{document.name}: changed while it was read; try again when nothing writes to it")


def _place(batches: Iterable[Batch], held: Mapping[Piece, Held]) -> Iterator[Placed]:
    """Yield batches with the positions of their pieces: one after the other, with an id between two documents."""
    position, before = 0, None
    for batch in batches:
        positions = []
        for piece in batch.pieces:
            if before not in (None, piece.document):
                position += 1
            positions.append(position)
            position += held[piece].characters
            before = piece.document
        yield Placed(batch, tuple(positions))


def _digest_ids(path: Path, start: int, end: int, *, dtype: np.dtype[Any], digest: "hashlib._Hash") -> None:
    """Add ids from `start` to before `end` to a digest; they were written just now, so no disk is waited for."""
    with path.open("rb") as file:
        file.seek(start * dtype.itemsize)
        left = (end - start) * dtype.itemsize
        while block := file.read(min(left, BLOCK_BYTES)):
            digest.update(block)
            left -= len(block)


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


def _build_vocabulary(
    counts: NDArray[np.int64], config: CorpusConfig, *, known: Vocabulary, end_of_text: bool
) -> Vocabulary:
    """Return the known ids, then further characters by code point, the unknown id, and the end_of_text id."""
    if config.level == "byte":
        counts = np.ones(256, np.int64)
    kept = [chr(code_point) for code_point in np.flatnonzero(counts >= config.min_count)]
    rare = {chr(code_point) for code_point in np.flatnonzero((counts > 0) & (counts < config.min_count))}
    vocabulary = known.extend(kept, unknown=not rare <= {*known.characters}, end_of_text=end_of_text)
    if not any(vocabulary.characters):
        raise CharlmError(f"corpus.min_count: found {config.min_count}; no character occurs that often")
    return vocabulary
