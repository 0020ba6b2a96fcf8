"""The quality of models: the score of a model on a text, what others score there, and the runs in comparison."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from charlm.api.model import Model, load
from charlm.errors import CharlmError, check_choice, check_path, counted
from charlm.evaluation.baselines import MAX_TRAINING_CHARACTERS, baseline_nats
from charlm.evaluation.mixture import mix
from charlm.evaluation.scoring import (
    Score,
    ScoringProtocol,
    mean_score,
    nats_of,
    only_finite,
    record_surprise,
    score_ids,
    stream_logits,
)
from charlm.network.architecture import CONFIG_FILE
from charlm.network.ensemble import mean_logits
from charlm.network.rnn import Floats
from charlm.runs.folder import CORPUS, is_run
from charlm.runs.run import run_corpus
from charlm.text.copies import Copies, find_copies
from charlm.text.corpus import Corpus, Split
from charlm.text.documents import check_encoding
from charlm.text.tokenization import encode_text
from charlm.text.vocabulary import Unknown


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text."""

    text: str
    """The name of the text that was scored, for the user."""
    score: Score
    baselines: dict[str, float] | None
    """What simple models score on the same text, see `baseline_nats`; None if they were not asked for."""
    training_characters: int = 0
    """The length of the training text; 0 if it is not known, or was not needed."""
    static: Score | None = None
    """With dynamic evaluation or a mixture, the score of the network as it was trained; else None."""
    alone: tuple[Score, ...] = ()
    """Of an ensemble, without dynamic evaluation and mixture, the score of each of its networks; else empty."""
    skipped_characters: int = 0
    """How many characters were left out of the text, because the model does not know them."""
    dynamic_rates: tuple[float, ...] = ()
    """The learning rate of each network in dynamic evaluation; empty = the weights stayed as they were."""
    is_mixed: bool = False
    """Whether the score is that of a mixture with n-gram models and the longest match."""
    copies: Copies | None = None
    """What of the text occurs in the training text; None if it was not asked for."""
    longest_copy: str = ""
    """The longest span that occurs there."""

    @property
    def given_characters(self) -> int:
        """How many characters of the training text the simple models were given."""
        return min(self.training_characters, MAX_TRAINING_CHARACTERS)

    @property
    def compared(self) -> Score | None:
        """What the score is worth comparing with: that without learning and mixture, or of the best network alone."""
        return self.static or min(self.alone, key=lambda score: score.nats_per_char, default=None)

    @property
    def is_worse(self) -> bool:
        """Whether dynamic evaluation or the mixture has made the score worse by 0.0001 nats per character or more."""
        return self.static is not None and self.score.nats_per_char - self.static.nats_per_char >= 1e-4


def evaluate(
    model: Model | str | Path,
    text: str | Path | None = None,
    *,
    split: Split | None = None,
    protocol: ScoringProtocol = "stream",
    window: int = 256,
    unknown: Unknown = "error",
    dynamic: bool = False,
    mixed: bool = False,
    baselines: bool = False,
    copies: bool = False,
    write_surprise: Callable[[bytes], object] | None = None,
    show_progress: bool = False,
) -> Evaluation:
    """Score a model on a text in a file; for a text in memory there is `Model.score`.

    Args:
        model: What `charlm.load` returned; or what it takes: a run or a bundle folder, or a part of the name of a run.
        text: A file, a folder of files, a corpus, or - for standard input; None = the text that the model was trained
            on, if it lies in its run.
        split: The part of the text to score; None = all of `text`, or the validation part of the run's own.
        protocol: stream reads the text once from start to end, windows reads each window from the zero state.
        window: Characters in a window, 1 or more.
        unknown: What to do with a character that the model does not know: refuse it (error) or leave it out (skip).
        dynamic: Whether the weights learn from each segment of the stream after it has been scored, those of each
            network of an ensemble by themselves. Needs TensorFlow and the run. It can make the score worse:
            `Evaluation.static` is the score without it.
        mixed: Whether to mix the model, and with `dynamic` each adapting network, with n-gram models and the longest
            match, which go on learning in the text: see `charlm.evaluation.mixture`. Needs the run.
        baselines: Whether to add what a compressor and n-gram models score.
        copies: Whether to add how much of the text occurs word for word in the training text. Needs the run.
        write_surprise: Takes JSON lines with the loss of each character, in whole lines; None = not wanted.
        show_progress: Whether to show on standard error how far the scoring is, if it takes more than a second.

    Raises:
        CharlmError: an argument is out of range, the text cannot be read, has less than 2 characters or one that is not
            known, a loss is not finite; with `dynamic`, `mixed` or `copies`, there is no training text.

    """
    _check_choices(split, protocol, unknown)
    model = model if isinstance(model, Model) else load(model)
    if (dynamic or mixed) and protocol != "stream":
        raise CharlmError(f"protocol: found {protocol}; dynamic evaluation and mixtures read the text as a stream")
    options = {"--copies": copies, "--mix": mixed, "--dynamic": dynamic}
    needing = [option for option, is_wanted in options.items() if is_wanted]
    is_needed = text is None or needing or baselines  # it is read once, to check that it is the text of the run
    corpus = run_corpus(model.folder.absolute(), model.bundle) if is_needed else None
    if needing and corpus is None:
        raise CharlmError(f"{_missing_corpus(model)}: {needing[0]} needs the training text")
    training = None if corpus is None else corpus.split("train")
    name, ids, skipped = text_to_score(model, text, split=split, unknown=unknown, corpus=corpus)
    if len(ids) < 2:
        raise CharlmError(f"{name}: {counted(len(ids), 'character')}: at least 2 are needed for a score")
    from threadpoolctl import threadpool_limits

    read = partial(score_ids, ids=ids, protocol=protocol, window=window)
    shown = partial(_shown, length=len(ids), show_progress=show_progress)
    # Values that are not finite raise a CharlmError. A stream has small products, and many streams have own threads.
    with threadpool_limits(1, "blas"), np.errstate(over="ignore", invalid="ignore"):
        rates, blocks = list[float](), read(model.network)
        if (dynamic or mixed) and training is not None:
            rates, blocks = _read_and_learn(
                model, ids, training, dynamic=dynamic, mixed=mixed, show_progress=show_progress
            )
            blocks = only_finite(blocks, advice="leave out --dynamic and --mix")
        if write_surprise is not None:
            blocks = record_surprise(blocks, ids, model.vocabulary, write_surprise)
        score, static, alone = mean_score(shown(blocks, "scoring")), None, list[Score]()
        if dynamic or mixed:
            static = mean_score(shown(read(model.network), "scoring the model alone"))
        elif model.others:
            alone = [mean_score(shown(read(one.parameters), "scoring each network")) for one in model.bundles]
    others = baseline_nats(ids, model.vocabulary, training) if baselines else None
    copied = find_copies(ids, training) if copies and training is not None else None
    start, length = (0, 0) if copied is None else (copied.start or 0, copied.length)
    longest = model.vocabulary.decode(ids[start : start + length])
    return Evaluation(
        name,
        score,
        others,
        training_characters=0 if training is None else len(training),
        static=static,
        alone=tuple(alone),
        skipped_characters=skipped,
        dynamic_rates=tuple(rates),
        is_mixed=mixed,
        copies=copied,
        longest_copy=longest,
    )


def _shown(blocks: Iterable[Floats], name: str, *, length: int, show_progress: bool) -> Iterator[Floats]:
    """Yield the nats of a text unchanged, and show how many of its characters are scored, and how long the rest takes.

    Dynamic evaluation and mixtures take minutes for a hundred thousand characters.
    """
    with tqdm(total=length - 1, desc=name, delay=1, leave=False, disable=not show_progress) as bar:
        for block in blocks:
            yield block
            bar.update(block.size)


def _check_choices(split: str | None, protocol: str, unknown: str) -> None:
    check_choice("protocol", protocol, ScoringProtocol)
    check_choice("unknown", unknown, Unknown)
    if split is not None:
        check_choice("split", split, Split)


def text_to_score(
    model: Model, text: str | Path | None, *, split: Split | None, unknown: Unknown, corpus: Corpus | None
) -> tuple[str, NDArray[Any], int]:
    """Return the text that a model is asked to score.

    Args:
        model: What `charlm.load` returned.
        text: A file, a folder of files, a corpus, or - for standard input; None = the text of the run.
        split: Which part of it; None = all of `text`, or the validation part of the run's own text.
        unknown: What to do with a character that the model does not know: error, or skip it.
        corpus: The text of the run; None = the bundle is not in a run.

    Returns:
        A name of the text for the user, its ids, integers [n]; n may be 0; and how many characters were skipped.

    Raises:
        CharlmError: there is no such text, the config of the model has another level than its vocabulary, or as
            `encode_text`.

    """
    if text is None:
        if corpus is None:
            raise CharlmError(f"{_missing_corpus(model)}: name the text to score after it")
        split = split or "validation"
        return f"{split} text of the run", corpus.split(split), 0
    check_path("text", text)
    config, level = model.config.corpus, model.vocabulary.level
    if config.level != level:
        raise CharlmError(
            f"{model.folder / CONFIG_FILE}: not the config of this model: corpus.level {config.level} instead of "
            f"{level}, the level of its vocabulary"
        )
    if level == "char":
        check_encoding(config.encoding, key=f"{model.folder / CONFIG_FILE}: corpus.encoding")
    name = str(text) if split is None else f"{split} part of {text}"
    return name, *encode_text(Path(text), model.vocabulary, config, split=split, unknown=unknown)


def _missing_corpus(model: Model) -> str:
    """Return why the training text of a model is not known."""
    folder = model.folder.absolute().parent
    return f"{folder / CORPUS}: missing" if is_run(folder) else f"{model.folder}: a bundle without its run"


def _read_and_learn(
    model: Model, ids: NDArray[Any], training: NDArray[Any], *, dynamic: bool, mixed: bool, show_progress: bool
) -> tuple[list[float], Iterator[Floats]]:
    """Return the learning rates of dynamic evaluation, none without it, and the nats of all ids but the first."""
    rates, streams = list[float](), [stream_logits(model.network, ids)] if mixed else []
    if dynamic:
        from charlm.engine import runtime

        runtime.start()
        from charlm.engine.dynamic import score_dynamic

        adapting = [
            score_dynamic(bundle, ids, training_ids=training, show_progress=show_progress) for bundle in model.bundles
        ]
        rates = [scores.rate for scores in adapting]
        streams += [scores.blocks for scores in adapting]
    if not mixed:
        return rates, nats_of(map(mean_logits, zip(*streams, strict=True)), ids)
    return rates, mix(streams, ids, vocabulary_size=len(model.vocabulary), training_ids=training)
