"""Evaluate a model on a text, compared with a compressor and n-gram models; find copied text."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from charlm.api import WINDOW
from charlm.api.model import Model, load
from charlm.checks import check_name, check_path
from charlm.core.evaluating import EVALUATED_CHARACTERS
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
from charlm.core.vocabulary import Ids, Vocabulary, has_too_many_marks
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, Progress, ignore
from charlm.measures.baselines import MAX_TRAINING_CHARACTERS, NGRAM, Comparison, baseline_scores
from charlm.measures.estimates import loss_of
from charlm.runs.folder import run_of
from charlm.runs.run import run_corpus
from charlm.text.corpus import BLOCK, Split
from charlm.text.documents import check_encoding
from charlm.text.findings import Copies, find_copies
from charlm.text.tokenization import encode_text, read_lines
from charlm.wording import as_argument

MOST_SURPRISING = 3
"""Number of characters whose mean loss is the score of a line. On six logs and lists, 3 found
planted lines better than 1, 5, 8 and all characters, see docs/anomalies.md."""


@dataclass(frozen=True, eq=False)
class ScoredText:
    """A text that a model is scored on."""

    name: str
    """Name of the text and of its part, for the user."""
    ids: Ids
    """Integers [n]."""
    left_out: Mapping[str, int]
    """Count of each character that was left out because the model does not know it."""
    training: Ids | None
    """Training text of the model, integers [m]: simple models learn from it, and copies are looked
    for in it. None if it is unknown, or if the model learnt the scored text."""
    no_comparison: str = ""
    """Reason why there is no such text, for the user."""

    def check_length(self) -> None:
        """Raise CharlmError if the model knows fewer than two characters of the text."""
        if len(self.ids) < 2:
            known = f"the model knows {len(self.ids)} of its characters"
            raise CharlmError(f"{self.name}: {known}; expected at least 2")

    def sha256(self, vocabulary: Vocabulary, *, most: int | None = None) -> str:
        """Return the SHA-256 of the first characters of the text; None = of all characters."""
        ids = self.ids[:most]
        digest = hashlib.sha256()
        for start in range(0, len(ids), BLOCK):
            digest.update(vocabulary.spell(ids[start : start + BLOCK], end="\0").encode())
        return digest.hexdigest()


def read_scored_text(
    model: Model,
    text: Path | None,
    *,
    split: Split | None = None,
    is_compared: bool = True,
) -> ScoredText:
    """Read the text to score.

    Args:
        model: The model.
        text: A file, a folder of files, a corpus, or - for standard input; None = the text that the
            model was trained on.
        split: Part of the text; None = all of `text`, or the validation part of the model's text,
            or its training part if it has no other.
        is_compared: Whether the training text is needed too.

    Raises:
        CharlmError: The text cannot be read, or there is no text.

    """
    corpus = None
    if text is None or is_compared:
        corpus = run_corpus(model.path, model.trained)
    training = None if corpus is None else corpus.split("train")
    left_out: Mapping[str, int] = {}
    if text is not None:
        config = model.config.corpus
        check_encoding(config.encoding, key=f"{model.path}: corpus.encoding")
        source = "standard input" if str(text) == "-" else str(text)
        name = source if split is None else f"{split} part of {source}"
        ids, left_out = encode_text(text, model.vocabulary, config, split=split)
        is_learnt = training is not None and _is_part(ids, training)
    elif corpus is None:
        path = as_argument(model.path)
        raise CharlmError(
            f"{model.path}: its training text is not known, and no text was named; give one: "
            f"charlm evaluate {path} TEXT, or charlm inspect {path} --text TEXT --out REPORT.html"
        )
    else:
        split = split or ("validation" if len(corpus.split("validation")) else "train")
        owner = corpus.manifest.name if run_of(model.path) is None else "the run"
        name = f"{'training' if split == 'train' else split} text of {owner}"
        ids = corpus.split(split)
        is_learnt = split == "train"
    if training is None:
        return ScoredText(name, ids, left_out, None, "the training text of the model is not known")
    if is_learnt:
        return ScoredText(name, ids, left_out, None, "the model learnt this text")
    return ScoredText(name, ids, left_out, training)


def _is_part(ids: Ids, training: Ids) -> bool:
    """Return whether one of two texts, whose ids have the same dtype, is a part of the other."""
    shorter, longer = sorted((ids.tobytes(), training.tobytes()), key=len)
    return shorter in longer


@dataclass(frozen=True)
class Evaluation:
    """Loss of a model on a text."""

    model: Path
    """Path of the model file."""
    text: str
    """Name of the scored text, for the user."""
    text_sha256: str
    """SHA-256 of the scored characters."""
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
    """Comparison with the 8-gram model; None without baselines or that model."""
    training_characters: int
    """Length of the training text; 0 if the text is not compared with it."""
    given_characters: int
    """Number of training characters that the simple models use."""
    no_comparison: str
    """Reason why simple models do not learn from the training text; "" if they do, or were not
    requested."""
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
            known characters, a loss is not finite, or `copies` is set although the training text is
            unknown or is the scored text.

    """
    if text is not None:
        text = Path(check_path("text", text))
    if split is not None:
        check_name("split", split, get_args(Split))
    model = load(model, on_event=on_event)
    vocabulary = model.vocabulary
    scored = read_scored_text(model, text, split=split, is_compared=baselines or copies)
    scored.check_length()
    ids, training = scored.ids, scored.training
    overlap = None
    if copies:
        if training is None:
            raise CharlmError(f"{model.path}: copies cannot be found: {scored.no_comparison}")
        overlap = find_copies(vocabulary.spell(ids, end="\0"), vocabulary.spell(training, end="\0"))
    training_characters = 0 if training is None else len(training)
    blocks = score_ids(model.trained.parameters, ids, protocol=protocol, window=window)
    # The products of a single stream are small; many streams have their own threads.
    with one_thread(), ignore_overflow():  # score_ids raises a CharlmError
        score = mean_score(_with_progress(blocks, len(ids) - 1, on_event))
    scores = baseline_scores(ids, vocabulary, training) if baselines else {}
    baseline_nats = {name: baseline.nats_per_char for name, baseline in scores.items()}
    comparison = None
    if NGRAM in scores:
        initial_model = model.trained.initial_model
        comparison = Comparison.of(score, scores[NGRAM], initial_model=initial_model)
    perplexity_or_inf = perplexity(score.nats_per_char)
    return Evaluation(
        model=model.path,
        text=scored.name,
        text_sha256=scored.sha256(vocabulary),
        protocol=protocol if protocol == "stream" else f"windows of {window}",
        nats_per_char=score.nats_per_char,
        bits_per_char=bits(score.nats_per_char),
        perplexity=perplexity_or_inf if math.isfinite(perplexity_or_inf) else None,
        characters=score.characters,
        total_bits=score.total_bits,
        standard_error=loss_of(score).error,
        left_out=dict(scored.left_out),
        baselines=baseline_nats if baselines else None,
        comparison=comparison,
        training_characters=training_characters,
        given_characters=min(training_characters, MAX_TRAINING_CHARACTERS),
        no_comparison=scored.no_comparison,
        copies=overlap,
    )


UNKNOWN_NATS = 100.0
"""Loss of a character without an id in a line: above any other, so its line has a high score."""
FAR_MORE = 5
"""A text with more than this many times the usual number of lines above all differs from the
training text."""


class LineScore(NamedTuple):
    """Loss of a model on a line of a text."""

    document: str
    """Name of the file."""
    number: int
    """Number of the line in its file, from 1."""
    score: float
    """Mean loss of the most surprising characters."""
    nats_per_char: float
    """Mean loss of all characters."""
    as_high: int
    """Number of lines of the model's validation text with this score or a higher one."""
    compared: int
    """Number of lines of the validation text; 0 = unknown."""
    characters: int
    """Number of characters, with the line break at the end."""
    line: str

    @property
    def rarity(self) -> str:
        """How rare the score is in the validation text, for the user; "-" if that is unknown."""
        if not self.compared:
            return "-"
        if not self.as_high:
            return f"above all {self.compared:,}"
        return f"1 in {self.compared / self.as_high:,.0f}"


def score_lines(
    model: Model | str | Path | None,
    text: str | Path | Sequence[str],
    *,
    on_event: OnEvent = ignore,
) -> Iterator[LineScore]:
    """Score each line of a text by itself, as soon as it comes.

    The model reads a line break, then the line and the line break after it, which are scored. A
    character that has no id has a loss of UNKNOWN_NATS, and is read as the unknown id, if there is
    one.

    Args:
        model: A model, or an argument of `charlm.load`.
        text: A file, a folder of files, or - for standard input; or a list of lines. Bytes that are
            not valid become U+FFFD.
        on_event: Called with notes.

    Raises:
        CharlmError: The text cannot be read, the model does not know line breaks, or a loss is not
            finite.

    """
    model = load(model, on_event=on_event)
    config = model.config.corpus
    check_encoding(config.encoding, key=f"{model.path}: corpus.encoding")
    if "\n" not in model.vocabulary.characters:
        raise CharlmError(f"{model.path}: does not know line breaks, so it cannot score lines")
    documents = (
        read_lines(Path(check_path("text", text)), config)
        if isinstance(text, str | Path)
        else [("", text)]
    )
    corpus = run_corpus(model.path, model.trained)
    usual = np.empty(0)
    if corpus is not None:
        ids = corpus.split("validation")[:EVALUATED_CHARACTERS]
        own = model.vocabulary.spell(ids, end="\n").split("\n")
        whole = own[1:-1]  # the first and the last line may be cut
        usual = np.sort([_score(nats) for nats in line_nats(model, whole)])
    numbers = Counter[str]()
    above_all = 0
    for document, lines in documents:
        for line, nats in zip(lines, line_nats(model, lines), strict=True):
            numbers[document] += 1
            score = _score(nats)
            as_high = len(usual) - int(np.searchsorted(usual, score))
            above_all += not as_high
            yield LineScore(
                document=document,
                number=numbers[document],
                score=score,
                nats_per_char=float(nats.mean(dtype=np.float64)),
                as_high=as_high,
                compared=len(usual),
                characters=len(nats),
                line=line,
            )
    if len(usual) and above_all > FAR_MORE * (1 + numbers.total() / len(usual)):
        on_event(
            Note(
                f"{above_all:,} of {numbers.total():,} lines are above all {len(usual):,} lines of "
                "the validation text: this text differs from the training text, for example in "
                "its dates or hosts; remove from both what changes from day to day"
            )
        )


def _score(nats: Floats) -> float:
    """Return the mean of the highest nats of a line, [n]."""
    return float(np.sort(nats)[-MOST_SURPRISING:].mean(dtype=np.float64))


def line_nats(model: Model, lines: Sequence[str]) -> list[Floats]:
    """Return the loss of each character of each line, float32 [n], n >= 1; see `score_lines`."""
    vocabulary = model.vocabulary
    looked_up = []
    for line in lines:
        text = f"\n{line}\n"
        text = text if has_too_many_marks(text) else vocabulary.normalize(text)
        looked_up.append(vocabulary.look_up(text))
    unknown_id = -1 if vocabulary.unknown_id is None else vocabulary.unknown_id
    read = [np.where(ids < 0, unknown_id, ids) for ids in looked_up]
    with ignore_overflow():  # score_texts raises a CharlmError
        scores = score_texts(model.trained.parameters, [ids[ids >= 0] for ids in read])
    losses = []
    for ids, known, nats in zip(looked_up, read, scores, strict=True):
        all_nats = np.empty(len(ids) - 1, np.float32)
        all_nats[known[1:] >= 0] = nats
        all_nats[ids[1:] < 0] = UNKNOWN_NATS
        losses.append(all_nats)
    return losses


def _with_progress(blocks: Iterable[Floats], total: int, on_event: OnEvent) -> Iterator[Floats]:
    """Yield blocks of losses unchanged, with an event before the first block and after each."""
    done = 0
    on_event(Progress("scoring", done, total, "character"))
    for block in blocks:
        yield block
        done += block.size
        on_event(Progress("scoring", done, total, "character"))
