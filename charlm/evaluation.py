"""Which ids an evaluation scores, and by which protocol."""

import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm import runs
from charlm.bundle import CONFIG, Bundle
from charlm.config import Config, CorpusConfig
from charlm.config_file import parse_config
from charlm.corpus import Corpus, is_corpus, open_corpus, split_positions
from charlm.documents import find_documents, texts
from charlm.errors import CharlmError
from charlm.rnn import Floats
from charlm.safe_yaml import parse_yaml
from charlm.scoring import score_stream, score_windows
from charlm.vocabulary import Vocabulary

Protocol = Literal["stream", "windows"]


@dataclass(frozen=True)
class DynamicRule:
    """How the weights follow the text in dynamic evaluation; see `charlm.training.dynamic`."""

    name: Literal["rms", "sgd"]
    rate: float
    decay: float
    """By which share the weights return to the trained ones after each stretch."""
    stretch: int = 20
    """Characters scored between two updates."""


RULES = {"rms": DynamicRule("rms", rate=3e-5, decay=0.01), "sgd": DynamicRule("sgd", rate=0.05, decay=1e-3)}


def dynamic_rule(rule: str | None = None, **values: Any) -> DynamicRule:
    """Return a rule by its name, rms by default, with the values that are not None in place of its own."""
    return replace(RULES[rule or "rms"], **{key: value for key, value in values.items() if value is not None})


def score_ids(bundle: Bundle, ids: NDArray[Any], *, protocol: Protocol, window: int) -> Iterator[Floats]:
    """Return the nats of ids 1 to n - 1, float32 arrays in text order.

    The ids [n] are read once from start to end (stream), or in windows each from the zero state. Raises
    CharlmError if there are fewer than two, or a loss is not finite.
    """
    if protocol == "stream":
        return _finite(score_stream(bundle.parameters, ids))
    return _finite(score_windows(bundle.parameters, ids, window=window))


def score_ids_dynamically(folder: Path, bundle: Bundle, ids: NDArray[Any], rule: DynamicRule) -> Iterator[Floats]:
    """Return the nats of ids 1 to n - 1 of a stream, the weights of the bundle at `folder` learning on the way.

    Raises CharlmError where the rule needs the training text and the bundle is not in its run.
    """
    from charlm.training import runtime

    runtime.start()
    from charlm.training.dynamic import score_dynamic

    corpus = run_corpus(folder, bundle) if rule.name == "rms" else None
    training_ids = None if corpus is None else corpus.split("train")
    return _finite(score_dynamic(bundle, ids, rule, training_ids=training_ids))


def _finite(blocks: Iterable[Floats]) -> Iterator[Floats]:
    for block in blocks:
        total = float(block.sum(dtype=np.float64))
        if not math.isfinite(total):
            raise CharlmError(f"the loss is {total}: the weights are too large; use an earlier checkpoint")
        yield block


def config_of(bundle: Bundle, *, origin: str) -> Config:
    """Return the config of the run that a bundle came from; raises CharlmError starting with `origin`."""
    return parse_config(parse_yaml(bundle.config, origin=origin), origin=origin)


def run_corpus(folder: Path, bundle: Bundle) -> Corpus | None:
    """Return the text that the run learnt from in which the bundle at `folder` lies; None if it lies in none.

    Raises CharlmError if the text there is another, or damaged.
    """
    path = folder.parent / runs.CORPUS
    if not runs.is_run(folder.parent) or not is_corpus(path):
        return None
    corpus = open_corpus(path)
    if corpus.vocabulary != bundle.vocabulary:
        raise CharlmError(f"{path}: not the corpus that the run learnt from: put it back, or name a text to score")
    return corpus


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
        corpus = run_corpus(folder, bundle)
        if corpus is None:
            raise CharlmError(f"{folder}: a bundle without its run: name the text to score after it")
        split = split or "validation"
        return f"{split} text of the run", corpus.split(split)
    config = config_of(bundle, origin=str(folder / CONFIG)).corpus
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
