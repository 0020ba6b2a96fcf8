"""Which ids an evaluation scores, and by which protocol."""

import math
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm import runs
from charlm.bundle import Bundle
from charlm.config import CorpusConfig, parse_config
from charlm.corpus import is_corpus, open_corpus, split_positions
from charlm.documents import find_documents, texts
from charlm.errors import CharlmError
from charlm.safe_yaml import parse_yaml
from charlm.scoring import Score, mean_score, score_stream, score_windows
from charlm.vocabulary import Vocabulary

Protocol = Literal["stream", "windows"]


def evaluate(bundle: Bundle, ids: NDArray[Any], *, protocol: Protocol, window: int) -> Score:
    """Score ids [n] read once from start to end (stream), or in windows each from the zero state.

    Raises CharlmError if there are fewer than two ids, or the loss is not finite.
    """
    if protocol == "stream":
        score = mean_score(score_stream(bundle.parameters, ids))
    else:
        score = mean_score(score_windows(bundle.parameters, ids, window=window))
    if not math.isfinite(score.nats_per_char):
        raise CharlmError(
            f"the loss is {score.nats_per_char}: the weights are too large; use an earlier checkpoint"
        )
    return score


def ids_to_score(
    folder: Path, bundle: Bundle, text: Path | None, *, split: str | None, unknown: Literal["error", "skip"]
) -> tuple[str, NDArray[Any]]:
    """Return what to call the text that is scored, and its ids.

    `text` None means the text of the run that the bundle at `folder` lies in, of which the validation part is
    scored unless `split` says otherwise; else a file, read with the encoding of the bundle's config, scored
    whole or divided like a corpus. Raises CharlmError where there is no such text, or a character of it is
    unknown to the model (`unknown` "skip" leaves it out).
    """
    if text is None:
        path = folder.parent / runs.CORPUS
        if not runs.is_run(folder.parent) or not is_corpus(path):
            raise CharlmError(f"{folder}: a bundle without its run: name the text to score after it")
        corpus = open_corpus(path)
        if corpus.vocabulary != bundle.vocabulary:
            raise CharlmError(f"{path}: not the corpus that the run learnt from: name the text to score")
        split = split or "validation"
        return f"{split} text of the run", corpus.split(split)
    origin = f"{folder / 'config.yaml'}"
    config = parse_config(parse_yaml(bundle.config, origin=origin), origin=origin).corpus
    ids = _read_ids(str(text), bundle.vocabulary, config, unknown=unknown)
    if split is None:
        return str(text), ids
    start, end = split_positions(len(ids), config)[split]
    return f"{split} part of {text}", ids[start:end]


def _read_ids(
    source: str, vocabulary: Vocabulary, config: CorpusConfig, *, unknown: Literal["error", "skip"]
) -> NDArray[Any]:
    """Return the ids of a file, of the files of a folder one after the other, or of standard input (`-`)."""
    with tempfile.TemporaryDirectory() as spool:
        documents = find_documents([source], spool=Path(spool) / "stdin")
        parts: list[NDArray[Any]] = []
        for document in documents:
            start = 0
            for text in texts(document.read(advance=lambda _: None), config, name=document.name):
                if vocabulary.level == "byte":
                    parts.append(np.frombuffer(text.encode("latin-1"), np.uint8))
                    continue
                ids = vocabulary.encode(text, unknown=unknown, name=document.name, start=start)
                parts.append(ids.astype(vocabulary.dtype))
                start += len(text)
    return np.concatenate(parts) if parts else np.zeros(0, vocabulary.dtype)
