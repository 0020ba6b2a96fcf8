"""Which ids an evaluation scores, and by which protocol; `charlm.engine.dynamic` is for `--dynamic`."""

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.evaluation.scoring import score_stream, score_windows
from charlm.network.architecture import CONFIG_FILE
from charlm.network.bundle import Bundle
from charlm.network.ensemble import Network
from charlm.network.rnn import Floats
from charlm.runs.run import run_corpus
from charlm.text.corpus import Corpus, is_corpus, open_corpus, split_positions
from charlm.text.decoding import check_encoding, texts
from charlm.text.documents import find_documents
from charlm.text.vocabulary import Level, Unknown, Vocabulary

ScoringProtocol = Literal["stream", "windows"]
Split = Literal["train", "validation", "test"]


def score_ids(network: Network, ids: NDArray[Any], *, protocol: ScoringProtocol, window: int) -> Iterator[Floats]:
    """Score a text by a protocol.

    Args:
        network: The weights of a network, or an ensemble.
        ids: Integers [n], n >= 2.
        protocol: stream reads the text once from start to end, windows reads each window from the zero state.
        window: The number of characters in a window, 1 or more; for the protocol windows.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    Raises:
        CharlmError: at once, n < 2 or the window is less than 1; while iterating, the nats are not finite.

    """
    if protocol == "stream":
        return only_finite(score_stream(network, ids))
    return only_finite(score_windows(network, ids, window=window))


def only_finite(blocks: Iterable[Floats], *, advice: str = "use an earlier checkpoint") -> Iterator[Floats]:
    """Yield blocks of nats unchanged.

    Args:
        blocks: Nats, float32 arrays of any shape.
        advice: The end of the error message: what to do if the weights are too large.

    Raises:
        CharlmError: while iterating, the sum of a block is not finite.

    """
    for block in blocks:
        total = float(block.sum(dtype=np.float64))
        if not math.isfinite(total):
            raise CharlmError(f"the loss is {total}: the weights are too large; {advice}")
        yield block


def ids_to_score(
    folder: Path,
    bundle: Bundle,
    text: Path | None,
    *,
    split: Split | None,
    unknown: Unknown,
) -> tuple[str, NDArray[Any], int]:
    """Return the text to score.

    Args:
        folder: The folder of the bundle.
        bundle: The model that scores the text.
        text: A file, a folder of files, or - for standard input, decoded as the config of the bundle says; or a corpus
            that `tokenize` wrote; None = the text of the run that the bundle belongs to.
        split: Which part of the text; None = all of `text`, or the validation part of the run's own text.
        unknown: What to do with a character that the model does not know: error, or skip it.

    Returns:
        A name of the text for the user, its ids, integers [n]; n may be 0; and how many characters were skipped.

    Raises:
        CharlmError: there is no such text, the model does not know a character of it and `unknown` is error, or the
            config or the corpus has another level than the vocabulary.

    """
    if text is None:
        corpus = run_corpus(folder, bundle)
        if corpus is None:
            raise CharlmError(f"{folder}: a bundle without its run: name the text to score after it")
        split = split or "validation"
        return f"{split} text of the run", corpus.split(split), 0
    config = bundle.parse_config(origin=str(folder / CONFIG_FILE)).corpus
    if config.level != bundle.vocabulary.level:
        raise CharlmError(
            f"{folder / CONFIG_FILE}: not the config of this model: corpus.level {config.level} instead of "
            f"{bundle.vocabulary.level}, the level of its vocabulary"
        )
    name = str(text) if split is None else f"{split} part of {text}"
    with tempfile.TemporaryDirectory() as scratch:
        if is_corpus(text):
            documents = _corpus_documents(open_corpus(text), split, level=config.level)
            return name, *_encode(documents, bundle.vocabulary, unknown=unknown)
        if config.level == "char":
            check_encoding(config.encoding, key=f"{folder / CONFIG_FILE}: corpus.encoding")
        files = find_documents([str(text)], spool=Path(scratch) / "stdin")
        documents = ((file.name, texts(file.read(), config, name=file.name, is_fixed=True)) for file in files)
        ids, skipped = _encode(documents, bundle.vocabulary, unknown=unknown)
    start, end = (0, len(ids)) if split is None else split_positions(len(ids), config)[split]
    return name, ids[start:end], skipped


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


def _encode(documents: Documents, vocabulary: Vocabulary, *, unknown: Unknown) -> tuple[NDArray[Any], int]:
    """Return the ids of documents, and how many characters were skipped.

    Between two documents is the end_of_text id, as in training, if the vocabulary has one.
    """
    parts: list[NDArray[Any]] = []
    skipped = 0
    for number, (name, pieces) in enumerate(documents):
        if number and vocabulary.end_of_text_id is not None:
            parts.append(np.array([vocabulary.end_of_text_id], vocabulary.dtype))
        start = 0
        for text in pieces:
            if vocabulary.level == "byte":
                parts.append(np.frombuffer(text.encode("latin-1"), np.uint8).astype(vocabulary.dtype))
                continue
            ids = vocabulary.encode(text, unknown=unknown, name=name, start=start)
            skipped += len(text) - len(ids)
            parts.append(ids.astype(vocabulary.dtype))
            start += len(text)
    return np.concatenate(parts) if parts else np.zeros(0, vocabulary.dtype), skipped
