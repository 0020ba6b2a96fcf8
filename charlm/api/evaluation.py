"""Evaluate a model on a text, compared with a compressor and n-gram models; find copied text."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from charlm.api import WINDOW
from charlm.api.model import Model, load
from charlm.checks import check_name, check_path
from charlm.core.generation import empty_prompt
from charlm.core.reading import one_thread
from charlm.core.rnn import Floats, ignore_overflow
from charlm.core.scoring import (
    ScoringProtocol,
    bits,
    mean_score,
    perplexity,
    score_ids,
    score_texts,
)
from charlm.core.vocabulary import Ids
from charlm.errors import CharlmError
from charlm.events import OnEvent, Progress, ignore
from charlm.measures.baselines import MAX_TRAINING_CHARACTERS, NGRAM, Comparison, baseline_scores
from charlm.measures.estimates import loss_of
from charlm.runs.folder import run_of
from charlm.runs.run import run_corpus
from charlm.text.corpus import Corpus, Split
from charlm.text.documents import check_encoding
from charlm.text.findings import Copies, find_copies
from charlm.text.tokenization import encode_text, read_lines
from charlm.wording import as_argument, counted

LINES_AT_ONCE = 10_000


@dataclass(frozen=True)
class Evaluation:
    """Loss of a model on a text."""

    model: Path
    """Path of the model file."""
    text: str
    """Name of the scored text, for the user."""
    protocol: str
    """Protocol: `stream` or `windows of N`."""
    nats_per_char: float
    """Mean loss; lower is better."""
    bits_per_char: float
    perplexity: float | None
    """exp(nats_per_char); None if it is too large for a float."""
    characters: int
    """Number of scored characters: all but the first."""
    total_bits: float
    """Loss of all scored characters together, in bits."""
    standard_error: float | None
    """Standard error of the mean loss, in nats; None for fewer than 2,400 characters."""
    left_out: Mapping[str, int]
    """Count of each character that was left out because the model does not know it."""
    baselines: dict[str, float] | None
    """Losses of simple models on the same text, see `baseline_scores`; None if not requested."""
    comparison: Comparison | None
    """Comparison with the 8-gram model; None without baselines or without the training text."""
    training_characters: int
    """Length of the training text; 0 if it is unknown or was not needed."""
    given_characters: int
    """Number of training characters that the simple models use."""
    copies: Copies | None
    """Verbatim overlap with the training text; None if not requested."""


def evaluate(
    model: Model | str | Path | None = None,
    text: str | Path | None = None,
    *,
    split: Split | None = None,
    protocol: ScoringProtocol = "stream",
    window: int = WINDOW,
    baselines: bool = False,
    copies: bool = False,
    on_event: OnEvent = ignore,
) -> Evaluation:
    """Score a model on a text in a file. For a text in memory, see `Model.score`.

    Args:
        model: A model, or an argument of `charlm.load`.
        text: A file, a folder of files, a corpus, or - for standard input. None = the text of the
            model, if the model is in a run or comes with charlm. Unknown characters are left out.
        split: Part of the text; None = all of `text`, or the validation part of the model's text,
            or its training part if it has no other.
        protocol: `stream` reads the text once; `windows` starts each window from the zero state.
        window: Window length in characters, 1 or more.
        baselines: Whether to score a compressor and n-gram models too.
        copies: Whether to measure the verbatim overlap with the training text.
        on_event: Called with notes and Progress.

    Raises:
        CharlmError: An argument is out of range, the text cannot be read or has fewer than two
            known characters, a loss is not finite, or `copies` needs an unknown training text.

    """
    if text is not None:
        text = Path(check_path("text", text))
    if split is not None:
        check_name("split", split, get_args(Split))
    model = load(model, on_event=on_event)
    needs_corpus = text is None or copies or baselines
    corpus = run_corpus(model.path, model.trained) if needs_corpus else None
    name, ids, left_out = text_to_score(model, text, split=split, corpus=corpus)
    check_length(name, len(ids))
    training = None if corpus is None else corpus.split("train")
    training_characters = 0 if training is None else len(training)
    overlap = _overlap(model, ids, training) if copies else None
    blocks = score_ids(model.trained.parameters, ids, protocol=protocol, window=window)
    # The products of a single stream are small; many streams have their own threads.
    with one_thread(), ignore_overflow():  # score_ids raises a CharlmError
        score = mean_score(_with_progress(blocks, len(ids) - 1, on_event))
    scores = baseline_scores(ids, model.vocabulary, training) if baselines else {}
    baseline_nats = {name: baseline.nats_per_char for name, baseline in scores.items()}
    perplexity_or_inf = perplexity(score.nats_per_char)
    return Evaluation(
        model=model.path,
        text=name,
        protocol=protocol if protocol == "stream" else f"windows of {window}",
        nats_per_char=score.nats_per_char,
        bits_per_char=bits(score.nats_per_char),
        perplexity=perplexity_or_inf if math.isfinite(perplexity_or_inf) else None,
        characters=score.characters,
        total_bits=score.total_bits,
        standard_error=loss_of(score).error,
        left_out=dict(left_out),
        baselines=baseline_nats if baselines else None,
        comparison=Comparison.of(score, scores[NGRAM]) if NGRAM in scores else None,
        training_characters=training_characters,
        given_characters=min(training_characters, MAX_TRAINING_CHARACTERS),
        copies=overlap,
    )


class LineScore(NamedTuple):
    """Loss of a model on a line of a text."""

    nats_per_char: float | None
    """Mean over the characters of the line; None if the model knows none of them."""
    characters: int
    """Number of characters that the model has read."""
    unknown: int
    """Number of characters that have no id; they are left out, or share the unknown id."""
    line: str


def score_lines(
    model: Model | str | Path | None, text: str | Path, *, on_event: OnEvent = ignore
) -> Iterator[LineScore]:
    """Score each line of a text by itself, from the zero state.

    The model first reads a line break, or the start of a text if it does not know line breaks, so
    the first character of a line is scored too.

    Args:
        model: A model, or an argument of `charlm.load`.
        text: A file, a folder of files, or - for standard input.
        on_event: Called with notes.

    Raises:
        CharlmError: The text cannot be read, or a loss is not finite.

    """
    model = load(model, on_event=on_event)
    vocabulary = model.vocabulary
    config = model.config.corpus
    check_encoding(config.encoding, key=f"{model.path}: corpus.encoding")
    knows_lines = "\n" in vocabulary.characters
    start = vocabulary.encode("\n") if knows_lines else empty_prompt(vocabulary)
    lines = read_lines(Path(check_path("text", text)), config)
    while some := [*islice(lines, LINES_AT_ONCE)]:
        ids = [np.append(start, vocabulary.encode(line)) for line in some]
        with ignore_overflow():  # score_texts raises a CharlmError
            scores = score_texts(model.trained.parameters, ids)
        for line, nats in zip(some, scores, strict=True):
            mean = float(nats.mean(dtype=np.float64)) if len(nats) else None
            yield LineScore(mean, len(nats), vocabulary.unknown(line).total(), line)


def _overlap(model: Model, ids: Ids, training: Ids | None) -> Copies:
    """Return the verbatim overlap of a text with the training text of a model."""
    if training is None:
        problem = "copies cannot be found, because the training text is not known"
        raise CharlmError(f"{model.path}: {problem}")
    spell = model.vocabulary.spell
    return find_copies(spell(ids, end="\0"), spell(training, end="\0"))


def _with_progress(blocks: Iterable[Floats], total: int, on_event: OnEvent) -> Iterator[Floats]:
    """Yield blocks of losses unchanged, with an event before the first block and after each."""
    done = 0
    on_event(Progress("scoring", done, total, "character"))
    for block in blocks:
        yield block
        done += block.size
        on_event(Progress("scoring", done, total, "character"))


def check_length(text: str, characters: int) -> None:
    """Raise CharlmError if the model knows fewer than two characters of a text.

    Args:
        text: Name of the text, for the message.
        characters: Number of characters that the model knows.

    """
    if characters < 2:
        known = counted(characters, "character")
        raise CharlmError(f"{text}: found {known} that the model knows; expected at least 2")


def text_to_score(
    model: Model, text: Path | None, *, split: Split | None, corpus: Corpus | None
) -> tuple[str, Ids, Counter[str]]:
    """Read the text to score.

    Args:
        model: The model.
        text: A file, a folder of files, a corpus, or - for standard input; None = `corpus`.
        split: Part of the text; None = all of `text`, or the validation part of `corpus`, or its
            training part if it has no other.
        corpus: The text that the model was trained on; None = unknown.

    Returns:
        The name of the text, for the user; its ids, integers [n], n may be 0; and the count of each
        character that was left out because the model does not know it.

    Raises:
        CharlmError: The text cannot be read, or there is no text.

    """
    if text is None:
        if corpus is None:
            path = as_argument(model.path)
            raise CharlmError(
                f"{model.path}: its training text is not known, and no text was named; give one: "
                f"charlm evaluate {path} TEXT, or charlm inspect {path} --text TEXT --out "
                f"REPORT.html"
            )
        if split is None:
            split = "validation" if len(corpus.split("validation")) else "train"
        owner = corpus.manifest.name if run_of(model.path) is None else "the run"
        part = "training" if split == "train" else split
        return f"{part} text of {owner}", corpus.split(split), Counter()
    config = model.config.corpus
    check_encoding(config.encoding, key=f"{model.path}: corpus.encoding")
    source = "standard input" if str(text) == "-" else str(text)
    name = source if split is None else f"{split} part of {source}"
    return name, *encode_text(text, model.vocabulary, config, split=split)
