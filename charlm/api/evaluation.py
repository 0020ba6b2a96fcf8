"""The quality of a model: its score on a text, beside those of a compressor and n-grams, and what of it is copied."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.api.model import Model, load
from charlm.checks import check_flag, check_name, check_text_path, check_whole
from charlm.errors import Advice, CharlmError
from charlm.evaluation.baselines import MAX_TRAINING_CHARACTERS, NGRAM, Comparison, baseline_scores
from charlm.evaluation.scoring import ScoringProtocol, bits, mean_score, perplexity, score_ids
from charlm.events import OnEvent, ScoringProgress, ignore
from charlm.network.rnn import Floats
from charlm.runs.folder import run_of
from charlm.runs.run import run_corpus
from charlm.text.copies import Copies, find_copies
from charlm.text.corpus import Corpus, Split
from charlm.text.documents import check_encoding
from charlm.text.tokenization import encode_text
from charlm.wording import counted


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text."""

    model: Path
    """The file of the model."""
    text: str
    """The name of the text that was scored, for the user."""
    protocol: str
    """How it was read: stream, or windows of so many characters."""
    nats_per_char: float
    """The mean over the scored characters; lower is better."""
    bits_per_char: float
    perplexity: float | None
    """exp(nats_per_char); None if a float cannot hold it."""
    characters: int
    """The number of scored characters: all but the first."""
    total_bits: float
    """Bits for all scored characters: bits_per_char times characters."""
    standard_error: float | None
    """Of the mean, in nats, if other such text were drawn; None below 2,400 characters."""
    left_out: Mapping[str, int]
    """How often each character occurs that was left out of the text, because the model does not know it."""
    baselines: dict[str, float] | None
    """What simple models score on the same text, see `baseline_scores`; None if they were not asked for."""
    comparison: Comparison | None
    """The model compared with the 5-gram model; None without baselines, or if the training text is not known."""
    training_characters: int
    """The length of the training text; 0 if it is not known, or was not needed."""
    given_characters: int
    """How many characters of the training text the simple models were given, at most."""
    copies: Copies | None
    """What of the text occurs in the training text; None if it was not asked for."""
    longest_copy: str
    """The longest span that occurs there."""


def evaluate(
    model: Model | str | Path | None = None,
    text: str | Path | None = None,
    *,
    split: Split | None = None,
    protocol: ScoringProtocol = "stream",
    window: int = 256,
    baselines: bool = False,
    copies: bool = False,
    on_event: OnEvent = ignore,
) -> Evaluation:
    """Score a model on a text in a file; for a text in memory there is `Model.score`.

    Args:
        model: A model, or what `charlm.load` takes.
        text: A file, a folder of files, a corpus, or - for standard input; None = the text that the model was trained
            on, if the model is in a run or comes with charlm. Characters that the model does not know are left out.
        split: The part of the text to score; None = all of `text`, or the validation part of the training text.
        protocol: stream reads the text once from start to end, windows reads each window from the zero state.
        window: Characters in a window, 1 or more.
        baselines: Whether to add what a compressor and n-gram models score.
        copies: Whether to add how much of the text occurs word for word in the training text, which must be known.
        on_event: As for `charlm.load`, and with ScoringProgress.

    Raises:
        CharlmError: there is no model, an argument is out of range, the text cannot be read, has less than 2 characters
            that the model knows, or a loss is not finite; with `copies`, there is no training text.

    """
    path = (
        None if text is None else Path(check_text_path("text", text, in_memory="model.score(text)"))
    )
    if split is not None:
        check_name("split", split, get_args(Split))
    check_name("protocol", protocol, get_args(ScoringProtocol))
    check_whole("window", window, least=1)
    check_flag("baselines", baselines)
    check_flag("copies", copies)
    model = load(model, on_event=on_event)
    is_needed = (
        text is None or copies or baselines
    )  # it is read once, to check that the model was trained on it
    corpus = run_corpus(model.path, model.trained) if is_needed else None
    if copies and corpus is None:
        raise CharlmError(
            f"{model.path}: not in a run that has its text, which the search for copies needs"
        )
    training = None if corpus is None else corpus.split("train")
    name, ids, left_out = text_to_score(model, path, split=split, corpus=corpus)
    check_length(name, len(ids), left_out)
    from threadpoolctl import threadpool_limits

    # Values that are not finite raise a CharlmError. A stream has small products, and many streams have own threads.
    with threadpool_limits(1, "blas"), np.errstate(over="ignore", invalid="ignore"):
        blocks = score_ids(model.trained.parameters, ids, protocol=protocol, window=window)
        score = mean_score(_with_progress(blocks, name, len(ids) - 1, on_event))
    copied = find_copies(ids, training) if copies and training is not None else None
    start, length = (0, 0) if copied is None else (copied.start or 0, copied.length)
    training_characters = 0 if training is None else len(training)
    as_perplexity = perplexity(score.nats_per_char)
    scores = baseline_scores(ids, model.vocabulary, training) if baselines else {}
    return Evaluation(
        model=model.path,
        text=name,
        protocol=protocol if protocol == "stream" else f"windows of {window}",
        nats_per_char=score.nats_per_char,
        bits_per_char=bits(score.nats_per_char),
        perplexity=as_perplexity if math.isfinite(as_perplexity) else None,
        characters=score.characters,
        total_bits=score.total_bits,
        standard_error=score.standard_error,
        left_out=dict(left_out),
        baselines={name: simple.nats_per_char for name, simple in scores.items()}
        if baselines
        else None,
        comparison=Comparison.of(score, scores[NGRAM]) if NGRAM in scores else None,
        training_characters=training_characters,
        given_characters=min(training_characters, MAX_TRAINING_CHARACTERS),
        copies=copied,
        longest_copy=model.vocabulary.decode(ids[start : start + length]),
    )


def _with_progress(
    blocks: Iterable[Floats], text: str, total: int, on_event: OnEvent
) -> Iterator[Floats]:
    """Yield the nats of a text unchanged, with an event before the first block and after each."""
    done = 0
    on_event(ScoringProgress(text, done, total))
    for block in blocks:
        yield block
        done += block.size
        on_event(ScoringProgress(text, done, total))


def check_length(text: str, characters: int, left_out: Mapping[str, int]) -> None:
    """Raise CharlmError if a text is too short for a prediction.

    Args:
        text: Its name, for the user.
        characters: How many of its characters the model knows.
        left_out: Count of each character that the model does not know.

    """
    if characters >= 2:
        return
    known = counted(characters, "character")
    if left_out:
        raise CharlmError(f"{text}: found {known} that the model knows; expected at least 2")
    raise CharlmError(f"{text}: found {known}; expected at least 2")


def text_to_score(
    model: Model, text: Path | None, *, split: Split | None, corpus: Corpus | None
) -> tuple[str, NDArray[Any], Counter[str]]:
    """Return the text that a model is asked to score.

    Args:
        model: What `charlm.load` returned.
        text: A file, a folder of files, a corpus, or - for standard input; None = the text of `corpus`.
        split: Which part of it; None = all of `text`, or the validation part of `corpus`.
        corpus: The text that the model was trained on; None = it is not known.

    Returns:
        A name of the text for the user, its ids, integers [n]; n may be 0; and how often each character occurs that was
        left out, because the model does not know it.

    Raises:
        CharlmError: there is no such text, or as `encode_text`.

    """
    if text is None:
        if corpus is None:
            problem = f"{model.path}: no text was named, and the model is not in a run that has its training text"
            raise CharlmError(problem, advice=Advice("name a text", model.path))
        split = split or "validation"
        owner = corpus.manifest.text_name if run_of(model.path) is None else "the run"
        return f"{split} text of {owner}", corpus.split(split), Counter()
    config = model.config.corpus
    check_encoding(config.encoding, key=f"{model.path}: corpus.encoding")
    source = "standard input" if str(text) == "-" else str(text)
    name = source if split is None else f"{split} part of {source}"
    return name, *encode_text(text, model.vocabulary, config, split=split)
