"""Text files -> ids: a corpus on disk, or the ids that a model has for a text.

A corpus is made in two passes over the files, each of which is in memory as a whole: the first counts the characters,
and decides which get an id of their own and which are too rare for that; the second writes the ids. Opening a corpus is
left to `charlm.text.corpus`.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from charlm import __version__
from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.events import OnEvent, TextProgress, ignore
from charlm.storage import check_free, new_folder, write_synced
from charlm.text.corpus import (
    CORPUS_FILE,
    IDS_FILE,
    Corpus,
    Manifest,
    Rare,
    Source,
    Split,
    ids_header,
    is_corpus,
    open_corpus,
    split_positions,
)
from charlm.text.documents import Document, UndecodableError, check_encoding, decode, find_documents
from charlm.text.vocabulary import MAX_NAMED, Vocabulary
from charlm.wording import counted

CHARACTERS_THAT_COST_LITTLE = 256
"""A text of no more different characters keeps them all, if min_count is automatic."""
RARE = 1_000_000
"""What occurs less than once in so many characters is rare."""
MAX_UNKNOWN = 0.005
"""The largest share of a text that the automatic min_count leaves out."""


def resolve_min_count(config: CorpusConfig, counts: NDArray[np.int64]) -> CorpusConfig:
    """Return the settings with a number for min_count: as given, or else what the text suggests.

    Every character takes a row of weights, an output, and its share of the softmax in each step, whether it occurs a
    thousand times or once. What occurs less than once in a million characters cannot be learnt.

    Args:
        config: Its min_count may be None.
        counts: How often each code point occurs, int64 [code points].

    """
    if config.min_count is not None:
        return config
    occurring = np.sort(counts[counts > 0])
    smallest = 1
    if len(occurring) > CHARACTERS_THAT_COST_LITTLE:
        total = int(occurring.sum())
        too_many = int(np.searchsorted(np.cumsum(occurring), MAX_UNKNOWN * total, side="right"))
        smallest = max(1, min(total // RARE, int(occurring[too_many])))
    return config.model_copy(update={"min_count": smallest})


def describe_rare(counts: NDArray[np.int64], vocabulary: Vocabulary) -> Rare | None:
    """Return which characters of a text have no id of their own; None = each has.

    Args:
        counts: How often each code point occurs, int64 [code points].
        vocabulary: That of the text.

    """
    rare = counts.copy()
    rare[[ord(character) for character in vocabulary.characters if character is not None]] = 0
    occurring = np.flatnonzero(rare)
    if not len(occurring):
        return None
    commonest = occurring[np.argsort(-rare[occurring], kind="stable")][:MAX_NAMED]
    return Rare(
        distinct=len(occurring), occurrences=int(rare.sum()), commonest="".join(map(chr, commonest))
    )


def build_vocabulary(
    counts: NDArray[np.int64], config: CorpusConfig, known: Vocabulary | None, *, end_of_text: bool
) -> Vocabulary:
    """Return the known ids, then further characters by code point, the unknown id, and the end_of_text id.

    Args:
        counts: How often each code point occurs, int64 [code points].
        config: Its min_count is a number.
        known: A vocabulary whose ids are kept; None = none.
        end_of_text: Whether there is an end_of_text id.

    Raises:
        CharlmError: no character occurs min_count times.

    """
    known, smallest = known or Vocabulary(()), config.min_count or 1
    kept = [chr(code_point) for code_point in np.flatnonzero(counts >= smallest)]
    rare = {chr(code_point) for code_point in np.flatnonzero((counts > 0) & (counts < smallest))}
    vocabulary = known.extend(
        kept, unknown=not rare <= {*known.characters}, end_of_text=end_of_text
    )
    if not any(vocabulary.characters):
        raise CharlmError(f"corpus.min_count: found {smallest}; no character occurs that often")
    return vocabulary


CODE_POINTS = 0x110000
"""The number of Unicode code points."""
BLOCK = 1 << 20
"""Characters that are counted or looked up at a time: NumPy takes 8 bytes for each."""


def tokenize(
    sources: Sequence[str],
    out: Path,
    config: CorpusConfig,
    *,
    known: Vocabulary | None = None,
    on_event: OnEvent = ignore,
) -> Corpus:
    """Write the text of some sources as a corpus, and open it.

    Each file is a document; between two documents is the end_of_text id. Files that are empty, or not valid in the
    encoding, are left out, and the corpus names them. The folder appears when the corpus is complete.

    Args:
        sources: Files, folders, .gz files, or `-` for standard input.
        out: The folder of the corpus, missing or empty.
        config: How the text is decoded, turned into ids and split.
        known: A vocabulary whose ids the corpus takes over, also those of characters that do not occur; None = none.
        on_event: Called with each `TextProgress`.

    Raises:
        CharlmError: `out` holds something or cannot be written; a source does not exist, cannot be read, or is a
            corpus; or there is no text. Nothing stays of what was written.

    """
    check_encoding(config.encoding)
    check_free(out)
    found, left_out = find_documents(sources)
    for source in map(Path, sources):
        if is_corpus(source):
            raise CharlmError(f"{source}: is a corpus, not text")
    counts, kept = _count_characters(found, config, left_out, on_event=on_event)
    if not kept:
        raise CharlmError(f"{', '.join(sources)}: no text")
    config = resolve_min_count(config, counts)
    vocabulary = build_vocabulary(counts, config, known, end_of_text=len(kept) > 1)
    size = sum(source.characters for source in kept.values()) + len(kept) - 1
    with new_folder(out) as folder:
        digest = _write_ids(folder / IDS_FILE, kept, size, vocabulary, config, on_event=on_event)
        manifest = Manifest(
            format=2,
            charlm=__version__,
            **config.model_dump(),
            rare=describe_rare(counts, vocabulary),
            sources=tuple(kept.values()),
            left_out=left_out,
            size=size,
            ids_sha256=digest,
            splits=split_positions(size, config),
            vocabulary=vocabulary.to_fields(),
        )
        _write_manifest(folder, manifest)
    return open_corpus(out, verify=False)


def memorize(corpus: Corpus, folder: Path) -> Corpus:
    """Write a short text anew so that a network can recite it, and open it.

    All of it is training text, and an end_of_text id stands before and after it: a network that is asked for a text
    without a prompt reads that id first, and ends the text at the other one. Such a corpus stays as it is.

    Args:
        corpus: The text.
        folder: The folder of the new corpus; what is there is replaced, but not what a link leads to.

    Raises:
        CharlmError: the folder cannot be written.

    """
    if is_memorized(corpus):
        return corpus
    ids, manifest = memorized(corpus)
    with new_folder(folder, replace=True) as place:
        write_synced(place / IDS_FILE, [ids_header(len(ids), ids.dtype), ids.tobytes()])
        _write_manifest(place, manifest)
    return open_corpus(folder, verify=False)


def is_memorized(corpus: Corpus) -> bool:
    """Return whether a corpus is one that `memorize` returns: it begins and ends with the end_of_text id."""
    end = corpus.vocabulary.end_of_text_id
    return end is not None and bool(corpus.ids[0] == corpus.ids[-1] == end)


def memorized(corpus: Corpus) -> tuple[NDArray[Any], Manifest]:
    """Return what `memorize` writes for a corpus that is not memorized: its ids, integers [n], and its manifest."""
    vocabulary = corpus.vocabulary.extend((), unknown=False, end_of_text=True)
    end = np.array([vocabulary.end_of_text_id], vocabulary.dtype)
    ids = np.concatenate([end, np.asarray(corpus.ids, vocabulary.dtype), end])
    settings = CorpusConfig(validation_fraction=0.0, test_fraction=0.0)
    changes = {
        "validation_fraction": 0.0,
        "test_fraction": 0.0,
        "size": len(ids),
        "ids_sha256": hashlib.sha256(ids.data).hexdigest(),
        "splits": split_positions(len(ids), settings),
        "vocabulary": vocabulary.to_fields(),
    }
    return ids, corpus.manifest.model_copy(update=changes)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the corpus.json of a new corpus; raises OSError."""
    text = manifest.model_dump_json(indent=1)
    write_synced(folder / CORPUS_FILE, [f"{text}\n".encode()])


Item = TypeVar("Item")


def _with_progress(
    items: Collection[Item], stage: Literal["counting", "encoding"], on_event: OnEvent
) -> Iterator[Item]:
    """Yield one item for each file, and emit how many are done before the first one and after each."""
    total = len(items)
    on_event(TextProgress(stage, done=0, total=total))
    for done, item in enumerate(items, start=1):
        yield item
        on_event(TextProgress(stage, done=done, total=total))


def _count_characters(
    documents: Sequence[Document],
    config: CorpusConfig,
    left_out: dict[str, str],
    *,
    on_event: OnEvent,
) -> tuple[NDArray[np.int64], dict[Document, Source]]:
    """Return how often each code point occurs, int64 [code points], and what each document with text holds.

    The reason why a document is left out is added to `left_out`, by its name. If nothing is left, the error of the
    first one that cannot be decoded is raised.
    """
    counts, kept, errors = (
        np.zeros(CODE_POINTS, np.int64),
        dict[Document, Source](),
        list[UndecodableError](),
    )
    for document in _with_progress(documents, "counting", on_event):
        try:
            data = document.read()
            text = decode(data, encoding=config.encoding, name=document.name)
        except UndecodableError as error:
            left_out[document.name] = error.reason
            errors.append(error)
            continue
        if not text:
            left_out[document.name] = "empty"
            continue
        for part in _parts(text):
            found = np.bincount(_code_points(part))
            counts[: len(found)] += found
        digest = hashlib.sha256(data).hexdigest()
        kept[document] = Source(
            name=document.name, bytes=len(data), characters=len(text), sha256=digest
        )
    if errors and not kept:
        others = len(left_out) - 1
        raise CharlmError(
            f"{errors[0]}; {counted(others, 'other file')} without text"
            if others
            else str(errors[0])
        )
    return counts, kept


def _write_ids(
    path: Path,
    documents: Mapping[Document, Source],
    size: int,
    vocabulary: Vocabulary,
    config: CorpusConfig,
    *,
    on_event: OnEvent,
) -> str:
    """Write the ids of documents as a .npy file, the end_of_text id between two; return their SHA-256."""
    table = np.full(CODE_POINTS, vocabulary.unknown_id or 0, vocabulary.dtype)
    known = vocabulary.table >= 0
    table[: len(known)][known] = vocabulary.table[known]
    digest, between = hashlib.sha256(), np.zeros(0, table.dtype)
    with path.open("wb") as file:
        file.write(ids_header(size, table.dtype))
        for document, source in _with_progress(documents.items(), "encoding", on_event):
            text = decode(document.read(), encoding=config.encoding, name=document.name)
            if len(text) != source.characters:
                raise CharlmError(
                    f"{document.name}: was changed while it was read; try again when nothing writes it"
                )
            for ids in (between, *(table.take(_code_points(part)) for part in _parts(text))):
                file.write(ids.data)
                digest.update(ids.data)
            between = np.array([vocabulary.end_of_text_id or 0], table.dtype)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _parts(text: str) -> Iterator[str]:
    return (text[start : start + BLOCK] for start in range(0, len(text), BLOCK))


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def encode_text(
    source: Path, vocabulary: Vocabulary, config: CorpusConfig, *, split: Split | None = None
) -> tuple[NDArray[Any], Counter[str]]:
    """Return the ids that the vocabulary of a model has for a text.

    Between two documents is the end_of_text id, as in training, if the vocabulary has one.

    Args:
        source: A file, a folder of files, or - for standard input; or a corpus, whose vocabulary may be another one.
        vocabulary: That of the model.
        config: How the model's own text was decoded and split.
        split: Which part of the text; None = all.

    Returns:
        The ids, integers [n], n may be 0; and which characters were left out, because the model does not know them,
        with how often each occurs.

    Raises:
        CharlmError: there is no such text, or it cannot be decoded.

    """
    if is_corpus(source):
        return _encode(_corpus_documents(open_corpus(source), split), vocabulary)
    documents, _ = find_documents([str(source)])
    texts = (
        decode(document.read(), encoding=config.encoding, name=document.name, is_fixed=True)
        for document in documents
    )
    ids, left_out = _encode(texts, vocabulary)
    start, end = (0, len(ids)) if split is None else split_positions(len(ids), config)[split]
    return ids[start:end], left_out


def _corpus_documents(corpus: Corpus, split: Split | None) -> Iterator[str]:
    """Yield the documents of a part of a corpus."""
    ids, end = (
        corpus.ids if split is None else corpus.split(split),
        corpus.vocabulary.end_of_text_id,
    )
    for document in np.split(ids, [] if end is None else np.flatnonzero(ids == end)):
        yield corpus.vocabulary.decode(document)


def _encode(texts: Iterable[str], vocabulary: Vocabulary) -> tuple[NDArray[Any], Counter[str]]:
    """Return the ids of documents, and which characters were left out."""
    parts: list[NDArray[Any]] = []
    left_out = Counter[str]()
    for text in filter(None, texts):
        if parts and vocabulary.end_of_text_id is not None:
            parts.append(np.array([vocabulary.end_of_text_id], vocabulary.dtype))
        for part in _parts(text):
            left_out += vocabulary.left_out(part)
            parts.append(vocabulary.encode(part).astype(vocabulary.dtype))
    return np.concatenate(parts) if parts else np.zeros(0, vocabulary.dtype), left_out
