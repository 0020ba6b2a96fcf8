"""An evaluation of the network of a run: its loss on the validation text, and a text that it writes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.evaluation.baselines import (
    COMPRESSOR,
    MAX_TRAINING_CHARACTERS,
    NGRAM,
    Comparison,
    baseline_scores,
)
from charlm.evaluation.scoring import ERROR_BLOCK, MIN_BLOCKS, Score
from charlm.network.model_file import Tensors, TrainedModel
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.text.vocabulary import Ids
from charlm.training.interface import Engine
from charlm.training.probes import choose_windows

BASELINES = (NGRAM, COMPRESSOR)
"""The simple models that the score of a run is seen next to."""
EVALUATED_CHARACTERS = 200_000
"""How much of the validation text an evaluation during training reads, at most."""


class DivergenceError(CharlmError):
    """Training has diverged."""


DIVERGED = (
    "training has diverged: lower training.optimizer.learning_rate or training.clip_norm, or change the initializers "
    "of the network"
)


def check_finite(tensors: Tensors, *, step: int) -> None:
    """Raise DivergenceError if a number among the tensors of a step is not finite."""
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise DivergenceError(f"not every weight is finite at step {step:,}: {DIVERGED}")


@dataclass(frozen=True, eq=False)
class EvaluatedText:
    """What every evaluation of a run reads."""

    ids: Ids | None
    """The validation text, integers [n]; None if it has fewer than 2 ids."""
    measured_on: str
    """Which text the best score is measured on, and how much of it if not all, for the user."""
    windows: NDArray[Any] | None
    """What `choose_windows` returned, from the training text if there is no validation text."""
    baselines: Mapping[str, Score]
    """Scores of a 5-gram model (interpolated modified Kneser-Ney) and of LZMA, which have both read the end of the
    training text; empty if there is no validation text."""

    @property
    def is_short(self) -> bool:
        """Whether there is a validation text, but too little of it for a standard error."""
        return self.ids is not None and len(self.ids) <= ERROR_BLOCK * MIN_BLOCKS

    @property
    def ngram(self) -> Score | None:
        """The score of the 5-gram model; None if it is not known."""
        return self.baselines.get(NGRAM)

    @property
    def baseline_nats(self) -> dict[str, float]:
        """The scores of the simple models by name, in nats per character."""
        return {name: score.nats_per_char for name, score in self.baselines.items()}

    def compare(self, score: Score) -> Comparison | None:
        """Compare a score on this text with the 5-gram model; return None if the 5-gram's score is not known."""
        return None if self.ngram is None else Comparison.of(score, self.ngram)

    @property
    def split(self) -> str:
        """The text that the best score is measured on: validation, or train if there is no validation text."""
        return "train" if self.ids is None else "validation"


def open_text(run: Run, *, baselines: Collection[str] = BASELINES) -> EvaluatedText:
    """Return what the evaluations of a run read.

    Args:
        run: Its corpus.
        baselines: The simple models that are scored: the 5-gram takes up to half a second, lzma up to two seconds.

    """
    corpus = run.corpus
    ids, training = corpus.split("validation", at_most=EVALUATED_CHARACTERS), corpus.split("train")
    if len(ids) < 2:
        return EvaluatedText(
            None, "the train text", choose_windows(training[:MAX_TRAINING_CHARACTERS]), {}
        )
    part = (
        f"first {len(ids):,} characters of the "
        if len(ids) < len(corpus.split("validation"))
        else ""
    )
    scores = baseline_scores(ids, corpus.vocabulary, training, names=baselines)
    return EvaluatedText(ids, f"the {part}validation text", choose_windows(ids), scores)


def one_thread() -> threadpool_limits:
    """Return a context in which a product takes one thread: beside other work, those of a small one would wait."""
    return threadpool_limits(1, "blas")


def evaluate(
    run: Run, engine: Engine, model: TrainedModel, text: EvaluatedText, *, train_nats: float
) -> tuple[Score, TrainedModel, str]:
    """Return the score of a network, the network with its score as a model file has it, and a text that it writes.

    Args:
        run: Its config and corpus.
        engine: What computes the score.
        model: The network.
        text: What is read.
        train_nats: The training loss, which is the score if there is no validation text.

    Raises:
        DivergenceError: a weight or the score is not finite.

    """
    step, score = model.facts["step"], Score(train_nats, 0)
    check_finite(model.parameters.tensors, step=step)
    with (
        one_thread(),
        np.errstate(all="ignore"),
    ):  # weights that are too large give a score that is not finite
        if text.ids is not None:
            score = engine.score(model.parameters, text.ids)
            if not np.isfinite(score.nats_per_char):
                raise DivergenceError(
                    f"the validation loss is {score.nats_per_char} at step {step:,}: {DIVERGED}"
                )
        written = sample_text(run, model)
    return score, replace(model, facts={**model.facts, "score": _score_facts(score, text)}), written


def _score_facts(score: Score, text: EvaluatedText) -> dict[str, Any]:
    """Return a score as a model file has it."""
    facts: dict[str, Any] = {"split": text.split, "nats_per_char": score.nats_per_char}
    if text.ids is not None:
        facts["characters"] = score.characters
    if score.block_means:
        facts["block_means"] = [round(mean, 6) for mean in score.block_means]
    if (comparison := text.compare(score)) is not None:
        facts["ngram_nats_per_char"] = comparison.ngram_nats_per_char
        facts["ngram_standard_error"] = comparison.standard_error
    return facts


def recites(run: Run, model: TrainedModel) -> bool:
    """Return whether a network generates its training text word for word, without a prompt.

    Args:
        run: Its corpus, whose training text begins and ends with the end_of_text id.
        model: The network, which always chooses the most likely character.

    """
    text = run.corpus.vocabulary.decode(run.corpus.split("train"))
    wanted = TextRequest(len(text) + 1, Sampler(temperature=0.0), run.config.seed)
    generated = ""
    with one_thread():
        for chunk in generate_text(model, wanted):
            generated += chunk
            if not text.startswith(generated):
                return False
    return generated == text


def sample_text(run: Run, model: TrainedModel) -> str:
    """Return a text with its prompt, as a sample with the seed of the run has it; "" if its length is 0.

    Raises:
        CharlmError: the logits are not finite.

    """
    settings = run.config.sampling
    if not settings.length:
        return ""
    wanted = TextRequest(
        settings.length, sampler_of(run.config, model), run.config.seed, settings.prompt
    )
    return settings.prompt + "".join(generate_text(model, wanted))


def sampler_of(config: Config, model: TrainedModel) -> Sampler:
    """Return how a run chooses the characters of its texts."""
    return Sampler.of(config.sampling, temperature=model.sampling_temperature)
