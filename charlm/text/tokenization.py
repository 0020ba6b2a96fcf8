"""Text files -> ids: a corpus on disk, or the ids that a model has for a text.

Two passes over the files make a corpus, with one file in memory at a time. The first pass counts
the characters, to decide which characters get their own id; the second writes the ids.
"""

import codecs
import contextlib
import hashlib
import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import CorpusConfig
from charlm.core.vocabulary import MAX_CODE_POINT, UNKNOWN_GLYPH, Ids, Vocabulary
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, Progress, ignore
from charlm.storage import check_free, new_file, new_folder
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
    is_one_corpus,
    open_corpus,
    read_manifest,
    split_positions,
)
from charlm.text.documents import (
    BYTES,
    BYTES_AS_TEXT,
    Document,
    UndecodableError,
    check_encoding,
    check_is_text,
    decode,
    find_documents,
    has_utf16_mark,
    is_utf8,
    name_text,
)
from charlm.version import __version__
from charlm.wording import counted

FEW_DISTINCT = 256
"""Number of different characters that an automatic min_count always keeps."""
SHORT_TEXT = 2_000
"""Number of characters below which a text can only be memorised."""
RARE = 1_000_000
"""A character that occurs less than once in this many characters is rare."""
MAX_UNKNOWN = 0.005
"""The largest share of a text that the automatic min_count leaves out."""
BLOCK = 1 << 20
"""Number of characters counted or looked up at a time; NumPy takes 8 bytes for each."""
MAX_LINE = 100_000
"""Maximum number of characters in a line that is read by itself."""

Item = TypeVar("Item")


def resolve_min_count(config: CorpusConfig, counts: NDArray[np.int64]) -> CorpusConfig:
    """Return the settings with a number for min_count, chosen for the text if it is None.

    Every character costs a row of weights, an output, and its share of the softmax in each step. A
    character that occurs less than once in a million characters cannot be learnt.

    Args:
        config: The settings.
        counts: The number of occurrences of each code point, int64 [code points].

    """
    if config.min_count is not None:
        return config
    occurring = np.sort(counts[counts > 0])
    min_count = 1
    if len(occurring) > FEW_DISTINCT:
        total = int(occurring.sum())
        limit = np.searchsorted(np.cumsum(occurring), MAX_UNKNOWN * total, side="right")
        min_count = max(1, min(total // RARE, int(occurring[limit])))
    return config.model_copy(update={"min_count": min_count})


def _build_vocabulary(
    counts: NDArray[np.int64], min_count: int, known: Vocabulary | None, *, end_of_text: bool
) -> tuple[Vocabulary, Rare | None]:
    """Return the vocabulary of a text, and the rare characters that share its unknown id, if any.

    The known ids come first, then the other characters by code point, the unknown id and the
    end_of_text id. Raises CharlmError if no character occurs min_count times.
    """
    known = known or Vocabulary(())
    new = {chr(code_point): int(counts[code_point]) for code_point in np.flatnonzero(counts)}
    for character in known.characters:
        new.pop(character or "", None)
    frequent = [character for character, count in new.items() if count >= min_count]
    rare = {character: count for character, count in new.items() if count < min_count}
    vocabulary = known.extend(frequent, unknown=bool(rare), end_of_text=end_of_text)
    if not vocabulary.distinct:
        raise CharlmError(f"corpus.min_count: found {min_count}; no character occurs that often")
    if not rare:
        return vocabulary, None
    return vocabulary, Rare(distinct=len(rare), occurrences=sum(rare.values()))


def tokenize(
    sources: Sequence[str],
    out: Path,
    config: CorpusConfig,
    *,
    known: Vocabulary | None = None,
    short: CorpusConfig | None = None,
    on_event: OnEvent = ignore,
) -> Corpus:
    """Write the text of the given sources as a corpus, and open the corpus.

    Each file is a document, with the end_of_text id between two documents. A text without a
    validation part also begins and ends with that id, so that a network can recite it from its
    beginning to its end. Files that are empty, or not valid in the encoding, are left out and
    recorded in the corpus. The folder appears when it is complete.

    Args:
        sources: Files, folders, .gz files, or `-` for standard input.
        out: The folder of the corpus, missing or empty.
        config: The settings for decoding, ids and splits.
        known: A vocabulary whose ids the corpus keeps, even for characters that do not occur.
        short: The settings for a single document below SHORT_TEXT; None = `config`.
        on_event: Called with the progress.

    Raises:
        CharlmError: `out` is not empty or cannot be written; a source does not exist, cannot be
            read, or is a corpus; or there is no text. Nothing is left behind.

    """
    check_encoding(config.encoding)
    check_free(out)
    documents, left_out = find_documents(sources)
    for source in sources:
        if is_corpus(Path(source)):
            raise CharlmError(f"{Path(source)}: is a corpus, not text")
    counts, kept = _count_characters(documents, config, left_out, on_event)
    if not kept:
        raise CharlmError(f"{', '.join(sources)}: no text")
    characters = sum(source.characters for source in kept.values())
    if short is not None and len(kept) == 1 and characters < SHORT_TEXT:
        config = short
    config = resolve_min_count(config, counts)
    has_ends = not config.validation_fraction
    vocabulary, rare = _build_vocabulary(
        counts, config.min_count or 1, known, end_of_text=len(kept) > 1 or has_ends
    )
    size = characters + len(kept) + (1 if has_ends else -1)
    with new_folder(out) as folder:
        with new_file(folder / IDS_FILE, target=out) as write:
            write(ids_header(size, vocabulary.dtype))
            digest = hashlib.sha256()
            blocks = _encode_documents(
                kept, vocabulary, config, has_ends=has_ends, on_event=on_event
            )
            for ids in blocks:
                write(ids.data)
                digest.update(ids.data)
        manifest = Manifest(
            format=3,
            charlm=__version__,
            name=name_text(sources),
            **config.model_dump(),
            rare=rare,
            sources=tuple(kept.values()),
            left_out=left_out,
            size=size,
            ids_sha256=digest.hexdigest(),
            splits=split_positions(size, config),
            vocabulary=vocabulary.to_fields(),
        )
        text = manifest.model_dump_json(indent=1)
        with new_file(folder / CORPUS_FILE, target=out) as write:
            write(f"{text}\n".encode())
    return open_corpus(out, verify=False)


def _with_progress(items: Collection[Item], task: str, on_event: OnEvent) -> Iterator[Item]:
    """Yield items, one for each file, with an event before the first file and after each file."""
    on_event(Progress(task, 0, len(items), "file"))
    for done, item in enumerate(items, start=1):
        yield item
        on_event(Progress(task, done, len(items), "file"))


def _count_characters(
    documents: Sequence[Document],
    config: CorpusConfig,
    left_out: dict[str, str],
    on_event: OnEvent,
) -> tuple[NDArray[np.int64], dict[Document, Source]]:
    """Return the counts of code points, int64 [code points], and the documents that have text.

    The names and reasons of other documents are added to `left_out`. If no document has text, the
    first decoding error is raised.
    """
    counts = np.zeros(MAX_CODE_POINT + 1, np.int64)
    kept: dict[Document, Source] = {}
    errors: list[UndecodableError] = []
    has_returns = False
    for document in _with_progress(documents, "counting characters", on_event):
        try:
            data = document.read()
            text = decode(data, config, name=document.name)
        except UndecodableError as error:
            left_out[document.name] = error.reason
            errors.append(error)
            continue
        if not text:
            left_out[document.name] = "empty"
            continue
        has_returns |= b"\r" in data and "\r" not in text
        for code_points in _code_points(text):
            block_counts = np.bincount(code_points)
            counts[: len(block_counts)] += block_counts
        kept[document] = Source(
            name=document.name,
            bytes=len(data),
            characters=len(text),
            sha256=hashlib.sha256(data).hexdigest(),
            invalid=text.count(UNKNOWN_GLYPH) if config.errors == "replace" else 0,
        )
    if errors and not kept:
        more = len(left_out) - 1
        others = f"; {counted(more, 'other file')} without text" if more else ""
        raise CharlmError(f"{errors[0]}{others}")
    if has_returns:
        on_event(Note("text: \\r\\n and \\r at the end of lines are read as \\n"))
    return counts, kept


def _encode_documents(
    documents: Mapping[Document, Source],
    vocabulary: Vocabulary,
    config: CorpusConfig,
    *,
    has_ends: bool,
    on_event: OnEvent,
) -> Iterator[Ids]:
    """Yield the ids of documents in blocks, with the end_of_text id between two documents."""
    ids = np.where(vocabulary.table < 0, vocabulary.unknown_id or 0, vocabulary.table)
    table = ids.astype(vocabulary.dtype)
    separator = np.array([vocabulary.end_of_text_id or 0], table.dtype)
    needs_separator = has_ends
    for document, source in _with_progress(documents.items(), "encoding characters", on_event):
        data = document.read()
        if hashlib.sha256(data).hexdigest() != source.sha256:
            raise CharlmError(
                f"{document.name}: changed while charlm was reading it; "
                "try again when no program writes to it"
            )
        text = decode(data, config, name=document.name)
        if needs_separator:
            yield separator
        for code_points in _code_points(text):
            yield table.take(code_points, mode="clip")
        needs_separator = True
    if has_ends:
        yield separator


def _blocks(text: str) -> Iterator[str]:
    return (text[start : start + BLOCK] for start in range(0, len(text), BLOCK))


def _code_points(text: str) -> Iterator[NDArray[np.uint32]]:
    return (np.frombuffer(block.encode("utf-32-le"), np.uint32) for block in _blocks(text))


def _decode_for_model(document: Document, config: CorpusConfig) -> str:
    """Return a text for a model: as UTF-8 if it is UTF-8, otherwise in the model's encoding."""
    data = document.read()
    if is_utf8(data):
        config = config.model_copy(update={"encoding": "utf-8"})
    try:
        return decode(data, config, name=document.name)
    except UndecodableError as error:
        if BYTES_AS_TEXT not in str(error):
            raise
        # -s is for training
        raise CharlmError(f"{document.name}: {error.reason}; convert it to utf-8") from None


def encode_text(
    source: Path, vocabulary: Vocabulary, config: CorpusConfig, *, split: Split | None = None
) -> tuple[Ids, Counter[str]]:
    """Return the ids that a model has for a text.

    The end_of_text id separates documents, as in training, if the vocabulary has one. A text that
    is valid UTF-8 with other characters than ASCII is read as UTF-8, whatever the encoding of the
    training text was.

    Args:
        source: A file, a folder of files, or - for standard input; or a corpus with any vocabulary.
        vocabulary: The vocabulary of the model.
        config: The settings of the training text of the model.
        split: The part of the text; None = all.

    Returns:
        The ids, integers [n], n may be 0; and the number of occurrences of each character that was
        left out because the model does not know it.

    Raises:
        CharlmError: There is no such text, or it cannot be decoded.

    """
    if is_corpus(source):
        return _encode(_corpus_documents(open_corpus(source), split), vocabulary)
    documents, _ = find_documents([str(source)])
    texts = (_decode_for_model(document, config) for document in documents)
    ids, left_out = _encode(texts, vocabulary)
    if split is not None:
        start, end = split_positions(len(ids), config)[split]
        ids = ids[start:end]
    return ids, left_out


def read_lines(source: Path, config: CorpusConfig) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines of a text for a model as soon as they come, with the name of their document.

    Bytes that are not valid become U+FFFD. The beginning of a document decides whether it is read
    as UTF-8 or in the encoding of the training text; see `encode_text` for the text and the
    arguments.

    Raises:
        CharlmError: The text cannot be read, is of a known kind that is not plain text, or has a
            line of more than MAX_LINE characters.

    """
    for document in find_documents([str(source)])[0]:
        blocks = document.blocks()
        start = next(blocks, b"")
        encoding = config.encoding
        if encoding != BYTES:
            check_is_text(start, document.name)
        if has_utf16_mark(start):
            encoding = "utf-16"
        elif encoding == "utf-8" or is_utf8(start.rpartition(b"\n")[0]):
            encoding = "utf-8-sig"  # without the byte order mark
        decoder = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder(encoding)("replace"), translate=encoding != BYTES
        )
        rest = ""
        read = 0
        for block in chain([start], blocks):
            *lines, rest = (rest + decoder.decode(block)).split("\n")
            for number, line in enumerate([*lines, rest], read + 1):
                if len(line) > MAX_LINE:
                    raise CharlmError(
                        f"{document.name}: line {number:,}: more than {MAX_LINE:,} characters; "
                        "shorten it, or evaluate the text as a whole"
                    )
            read += len(lines)
            yield document.name, lines
        rest += decoder.decode(b"", final=True)
        if rest:
            yield document.name, [rest.removesuffix("\n")]


def _corpus_documents(corpus: Corpus, split: Split | None) -> Iterator[str]:
    """Yield the documents in a corpus, or in one of its splits."""
    ids = corpus.ids if split is None else corpus.split(split)
    end = corpus.vocabulary.end_of_text_id
    borders = np.flatnonzero(ids == (-1 if end is None else end))
    return map(corpus.vocabulary.decode, np.split(ids, borders))


def _encode(texts: Iterable[str], vocabulary: Vocabulary) -> tuple[Ids, Counter[str]]:
    """Return the ids of documents, and the characters that were left out."""
    parts = [np.zeros(0, vocabulary.dtype)]
    left_out = Counter[str]()
    for text in filter(None, texts):
        if len(parts) > 1 and vocabulary.end_of_text_id is not None:
            parts.append(np.array([vocabulary.end_of_text_id], vocabulary.dtype))
        for block in _blocks(text):
            ids, unknown = vocabulary.read(block)
            left_out += unknown
            parts.append(ids.astype(vocabulary.dtype))
    return np.concatenate(parts), left_out


def check_same_text(sources: Sequence[str], manifest: Manifest, *, owner: Path) -> None:
    """Check that the given sources hold the text of a corpus.

    A single source that is a corpus must have the same ids. Other sources must have documents with
    the same bytes in the same order, without those that a corpus leaves out.

    Args:
        sources: One or more files, folders, .gz files, or `-` for standard input; or one corpus.
        manifest: The manifest of the corpus of a run or a search.
        owner: The folder of that run or search, for the message.

    Raises:
        CharlmError: The text differs, or a source cannot be read.

    """
    if is_one_corpus(sources):
        is_same = read_manifest(Path(sources[0])).ids_sha256 == manifest.ids_sha256
    else:
        digests = []
        for document in find_documents(sources)[0]:
            with contextlib.suppress(UndecodableError):
                data = document.read()
                if decode(data, manifest, name=document.name):
                    digests.append(hashlib.sha256(data).hexdigest())
        is_same = digests == [source.sha256 for source in manifest.sources]
    if not is_same:
        raise CharlmError(
            f"{owner}: began with a different text than {', '.join(sources)}; use the original "
            "text, or choose a new folder"
        )
