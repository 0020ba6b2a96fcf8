"""Text files -> ids: a corpus on disk, or the ids that a model has for a text.

A corpus is made in two passes: the first counts the characters, the second writes their ids. The files are never in
memory as a whole. Finding and decoding documents is left to `charlm.text.documents`, opening a corpus to
`charlm.text.corpus`.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from charlm import __version__
from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.storage.atomic import remove_abandoned, scratch_folder, sync_file, sync_folder, temporary_folder
from charlm.text.corpus import (
    FORMAT,
    MAX_NAMED,
    Corpus,
    Manifest,
    Source,
    Split,
    is_corpus,
    name_some,
    open_corpus,
    split_positions,
    stored_dtype,
)
from charlm.text.documents import (
    CODE_POINTS,
    Advance,
    Document,
    UndecodableError,
    check_encoding,
    code_points,
    find_documents,
    texts,
)
from charlm.text.rare_characters import build_vocabulary, describe_rare, settle_min_count
from charlm.text.vocabulary import Level, Unknown, Vocabulary


def tokenize(
    sources: Sequence[str],
    out: Path,
    config: CorpusConfig,
    *,
    known: Vocabulary | None = None,
    skip_undecodable: bool = False,
    progress: bool = False,
) -> Corpus:
    """Write the text of some sources as a corpus, and open it.

    Each file is a document; between two documents is the end_of_text id. What a killed process has left beside `out` is
    removed.

    Args:
        sources: Files, folders, glob patterns, .gz files, or `-` for standard input.
        out: The folder of the corpus, missing or empty. It appears when it is complete.
        config: How the text is decoded, turned into ids and split.
        known: A vocabulary of the level in `config`, whose ids the corpus takes over, also those of characters that do
            not occur; None = none.
        skip_undecodable: Whether to leave out files that are not valid in the encoding, if others are; the manifest
            names them.
        progress: Whether to show a progress bar on standard error, in bytes.

    Raises:
        CharlmError: `out` holds something or cannot be written; a setting does not apply at this level; a source does
            not exist, cannot be read or decoded, is a corpus, or changes between the two passes; or there is no text.

    """
    _check(config)
    try:
        target = Path(os.path.realpath(out))  # unlike resolve, accepts a link to itself
        is_there = target.is_dir()  # it may be a mount point or the current folder: it stays, and is filled
        place = target / "corpus" if is_there else target
        remove_abandoned(place)
        if target.exists() and not (is_there and not any(target.iterdir())):
            raise CharlmError(f"{out}: exists already; give a new or an empty folder, or delete this one")
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(place) as scratch:
            documents = find_documents(sources, spool=scratch / "standard_input")
            _refuse_corpora(documents)
            folder = scratch / "corpus"
            folder.mkdir()
            total = 2 * sum(document.file_bytes() for document in documents)
            with tqdm(total=total, unit="B", unit_scale=True, desc="counting", disable=not progress) as bar:
                read = partial(_read, config=config, advance=bar.update)
                counts, found, undecodable = _count_characters(documents, read)
                if undecodable and not (skip_undecodable and found):
                    raise _refusal(undecodable, [*found], sources, config)
                kept = {document: source for document, source in found.items() if source.characters}
                if not kept:
                    raise CharlmError(f"{', '.join(sources)}: no text")
                bar.set_description("encoding")
                config = settle_min_count(config, counts)
                vocabulary = build_vocabulary(counts, config, known, end_of_text=len(kept) > 1)
                left_out = {
                    "rare": describe_rare(counts, vocabulary),
                    "undecodable": tuple(error.name for error in undecodable),
                    "empty": tuple(document.name for document in found if document not in kept),
                }
                digest = _write_ids(folder / "ids.bin", kept, read, vocabulary)
                _describe(folder, [*kept.values()], config, vocabulary, digest=digest, left_out=left_out)
            names = ("ids.bin", "vocabulary.json", "manifest.json")
            for name in names:
                sync_file(folder / name)
            sync_folder(folder)
            if is_there:
                for name in names:
                    (folder / name).rename(target / name)
            else:
                folder.rename(target)
            sync_folder(target if is_there else target.parent)
    except OSError as error:
        raise CharlmError(f"{out}: cannot be written: {error.strerror}") from None
    return open_corpus(out, verify=False)


def encode_text(
    source: Path,
    vocabulary: Vocabulary,
    config: CorpusConfig,
    *,
    split: Split | None = None,
    unknown: Unknown = "error",
) -> tuple[NDArray[Any], int]:
    """Return the ids that the vocabulary of a model has for a text.

    Between two documents is the end_of_text id, as in training, if the vocabulary has one.

    Args:
        source: A file, a folder of files, or - for standard input; or a corpus, whose vocabulary may be another one.
        vocabulary: That of the model.
        config: How the model's own text was decoded and split.
        split: Which part of the text; None = all.
        unknown: What to do with a character that the model does not know: error, or skip it.

    Returns:
        The ids, integers [n], n may be 0; and how many characters were skipped.

    Raises:
        CharlmError: there is no such text, it cannot be decoded, a corpus has another level than the vocabulary, or the
            model does not know a character and `unknown` is error.

    """
    if is_corpus(source):
        return _encode(_corpus_documents(open_corpus(source), split, level=vocabulary.level), vocabulary, unknown)
    with temporary_folder() as scratch:
        files = find_documents([str(source)], spool=scratch / "stdin")
        documents = ((file.name, texts(file.read(), config, name=file.name, is_fixed=True)) for file in files)
        ids, skipped = _encode(documents, vocabulary, unknown)
    start, end = (0, len(ids)) if split is None else split_positions(len(ids), config)[split]
    return ids[start:end], skipped


Documents = Iterable[tuple[str, Iterable[str]]]
"""Texts in pieces, each with its name for the user; at level byte, code points are byte values."""


def _corpus_documents(corpus: Corpus, split: Split | None, *, level: Level) -> Documents:
    """Yield the documents of a part of a corpus."""
    vocabulary = corpus.vocabulary
    if vocabulary.level != level:
        raise CharlmError(f"{corpus.folder}: level {vocabulary.level}; must be {level}, that of the model")
    ids = corpus.ids if split is None else corpus.split(split)
    code_points = np.array([ord(glyph or "\0") for glyph in vocabulary.glyphs], "<u4")
    ends = np.flatnonzero(ids == (len(vocabulary) if vocabulary.end_of_text_id is None else vocabulary.end_of_text_id))
    for start, end in zip([0, *(ends + 1)], [*ends, len(ids)], strict=True):
        yield str(corpus.folder), [code_points[ids[start:end]].tobytes().decode("utf-32-le")]


def _encode(documents: Documents, vocabulary: Vocabulary, unknown: Unknown) -> tuple[NDArray[Any], int]:
    """Return the ids of documents, and how many characters were skipped."""
    parts: list[NDArray[Any]] = []
    skipped = 0
    for name, pieces in documents:
        start = 0
        for text in pieces:
            if parts and start == 0 and vocabulary.end_of_text_id is not None:
                parts.append(np.array([vocabulary.end_of_text_id], vocabulary.dtype))
            if vocabulary.level == "byte":
                ids: NDArray[Any] = np.frombuffer(text.encode("latin-1"), np.uint8)
            else:
                ids = vocabulary.encode(text, unknown=unknown, name=name, start=start)
            skipped += len(text) - len(ids)
            parts.append(ids.astype(vocabulary.dtype))
            start += len(text)
    return np.concatenate(parts) if parts else np.zeros(0, vocabulary.dtype), skipped


def _check(config: CorpusConfig) -> None:
    if config.level == "char":
        check_encoding(config.encoding)
    elif config.normalize != "none":
        raise CharlmError(f"corpus.normalize: found {config.normalize}; at level byte only none applies")
    elif config.min_count not in {None, 1}:
        raise CharlmError(f"corpus.min_count: found {config.min_count}; at level byte only 1 applies")


def _refuse_corpora(documents: Sequence[Document]) -> None:
    for folder in {document.path.parent for document in documents}:
        if is_corpus(folder):
            raise CharlmError(f"{folder}: is a corpus that charlm tokenize wrote, not text")


Read = Callable[[Document, Callable[[str], object]], Source]
"""Passes the text of a document to a function, piece by piece; returns what the document held."""


def _read(document: Document, consume: Callable[[str], object], *, config: CorpusConfig, advance: Advance) -> Source:
    digest, size, characters = hashlib.sha256(), 0, 0

    def blocks() -> Iterator[bytes]:
        """Yield the bytes of the document, counted and hashed as they are read."""
        nonlocal size
        for block in document.read(advance=advance):
            digest.update(block)
            size += len(block)
            yield block

    for text in texts(blocks(), config, name=document.name):
        consume(text)
        characters += len(text)
    return Source(name=document.name, bytes=size, characters=characters, sha256=digest.hexdigest())


def _count_characters(
    documents: Sequence[Document], read: Read
) -> tuple[NDArray[np.int64], dict[Document, Source], list[UndecodableError]]:
    """Return how often each code point occurs, what each document held, and why documents cannot be decoded.

    The counts are int64 [code points].
    """
    counts, found, undecodable = np.zeros(CODE_POINTS, np.int64), dict[Document, Source](), list[UndecodableError]()

    def count(text: str, *, sign: int = 1) -> None:
        """Add the characters of a text, or subtract them if the sign is -1."""
        some = np.bincount(code_points(text))
        counts[: len(some)] += sign * some

    for document in documents:
        try:
            found[document] = read(document, count)
        except UndecodableError as error:
            undecodable.append(error)
            with contextlib.suppress(UndecodableError):
                read(document, partial(count, sign=-1))  # what was counted before the invalid byte
    return counts, found, undecodable


def _refusal(
    undecodable: Sequence[UndecodableError], valid: Sequence[Document], sources: Sequence[str], config: CorpusConfig
) -> CharlmError:
    """Return the error that names the documents which cannot be decoded, and what would do."""
    if len(undecodable) + len(valid) == 1:
        return undecodable[0]
    total, number = len(undecodable) + len(valid), len(undecodable)
    names = name_some([f"{error.name} ({error.position})" if error.position else error.name for error in undecodable])
    problem = f"{number:,} of {total:,} files {'is' if number == 1 else 'are'} not valid {config.encoding}: {names}"
    if not valid:
        return CharlmError(f"{problem}; {undecodable[0].advice}")
    advice = "leave them out with --skip-undecodable, from Python skip_undecodable=True"
    bad = {Path(error.name).suffix for error in undecodable}
    good = dict.fromkeys(document.path.suffix for document in valid if document.path.suffix)
    folders = [source.rstrip("/") for source in sources if Path(source).is_dir()]
    if folders and not bad & {*good}:
        patterns = [f"'{folder}/**/*{suffix}'" for folder in folders for suffix in good]
        advice += f", or name the others by patterns: {' '.join(patterns[:MAX_NAMED])}"
    return CharlmError(f"{problem}; {advice}")


def _describe(
    folder: Path,
    sources: Sequence[Source],
    config: CorpusConfig,
    vocabulary: Vocabulary,
    *,
    digest: str,
    left_out: Mapping[str, Any],
) -> None:
    """Write vocabulary.json, and manifest.json last; `left_out` holds its fields of what has no ids of its own."""
    characters = sum(source.characters for source in sources)
    size = characters + len(sources) - 1
    manifest = Manifest(
        format=FORMAT,
        charlm=__version__,
        **config.model_dump(),
        **left_out,
        sources=tuple(sources),
        characters=characters,
        dtype=vocabulary.dtype.name,
        size=size,
        ids_sha256=digest,
        splits=split_positions(size, config),
    )
    (folder / "vocabulary.json").write_text(vocabulary.to_json(), encoding="utf-8")
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _write_ids(path: Path, found: Mapping[Document, Source], read: Read, vocabulary: Vocabulary) -> str:
    """Write the ids of documents, with the end_of_text id between two of them; return the SHA-256 of the file."""
    to_ids, digest = _encoder(vocabulary), hashlib.sha256()
    between = b""
    with path.open("wb") as file:

        def write(ids: bytes) -> None:
            """Add ids to the file and to the digest."""
            file.write(ids)
            digest.update(ids)

        for document, source in found.items():
            write(between)
            if read(document, lambda text: write(to_ids(text))) != source:
                raise CharlmError(f"{document.name}: changed while it was read; try again when nothing writes to it")
            between = np.array(vocabulary.end_of_text_id or 0, stored_dtype(vocabulary)).tobytes()
    return digest.hexdigest()


def _encoder(vocabulary: Vocabulary) -> Callable[[str], bytes]:
    """Return a function from text to the bytes of its ids; a character that was not counted gets some other id."""
    table = np.full(CODE_POINTS, vocabulary.unknown_id or 0, stored_dtype(vocabulary))
    known = vocabulary.table >= 0
    table[: len(known)][known] = vocabulary.table[known]
    ascii_table = table[:256].tobytes()

    def to_ids(text: str) -> bytes:
        """Return the ids of a text as bytes."""
        if table.itemsize == 1 and text.isascii():
            return text.encode("ascii").translate(ascii_table)
        return table.take(code_points(text)).tobytes()

    return to_ids
