"""An evaluation of a network in training: its loss on the validation text, a sample, and probes."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

from charlm.config.schema import Config
from charlm.core.engine import Engine
from charlm.core.generation import TextRequest, generate_text
from charlm.core.model_file import Tensors, TrainedModel
from charlm.core.rnn import ACTIVATIONS, Floats, Parameters
from charlm.core.sampler import Sampler
from charlm.core.scoring import ERROR_BLOCK, MIN_BLOCKS, Score
from charlm.core.vocabulary import Ids
from charlm.errors import CharlmError
from charlm.measures.baselines import MAX_TRAINING_CHARACTERS, ngram_score
from charlm.measures.gradients import (
    SATURATED_BELOW,
    LagCurve,
    lag_curves,
    read_trace,
)
from charlm.runs.folder import CORPUS
from charlm.runs.run import corpus_identity
from charlm.text.corpus import Corpus

WINDOWS, WARM_UP, LAGS = 16, 32, 48
"""Number of windows, and their length, WARM_UP + LAGS characters. The warm-up lets a network forget
its zero state."""
STRIDE = 6
"""Number of characters between two states that are counted in the histogram."""
REACHED = 0.1
"""Smallest gradient that counts as reaching back, as a share of its size at lag 0."""
EVALUATED_CHARACTERS = 200_000
"""Maximum number of characters of the validation text that an evaluation reads."""
DIVERGED = (
    "training has diverged: set a lower training.optimizer.learning_rate or training.clip_norm, "
    "or change the initializers of the network"
)
OVERFLOWS = (
    "the outputs of the network overflow; choose another activation, or initializers of smaller "
    "weights"
)


@dataclass(frozen=True, eq=False)
class LayerProbe:
    """The activity of one layer."""

    states: Floats
    """Sample of the outputs h, float32 of any shape."""
    saturated_share: float
    """Share of units and positions whose activation has a slope below 0.19 of the largest slope."""
    gradient: LagCurve


def choose_windows(ids: Ids) -> Ids | None:
    """Return evenly spaced windows of a text, integers [T + 1, B]; None for fewer than 2 ids."""
    length = min(WARM_UP + LAGS, len(ids) - 1)
    if length < 1:
        return None
    windows = sliding_window_view(ids, length + 1)
    starts = np.unique(np.linspace(0, len(windows) - 1, WINDOWS).astype(np.int64))
    return np.asarray(windows[starts].T, np.int64)


def probe(parameters: Parameters, windows: Ids) -> list[LayerProbe]:
    """Read windows with a network, and follow the gradient of each last prediction back in time.

    Args:
        parameters: The weights.
        windows: Ids from `choose_windows`, integers [T + 1, B].

    Returns:
        A probe of each layer, lowest first.

    """
    end = len(windows) - 1
    lags = min(LAGS, end)
    texts = np.arange(windows.shape[1])
    limit = SATURATED_BELOW * ACTIVATIONS[parameters.activation].largest_slope
    probes = []
    with np.errstate(all="ignore"):  # weights that are not finite give NaN
        trace = read_trace(parameters, windows)
        curves = lag_curves(trace, np.full(len(texts), end - 1), lags=lags, texts=texts)
        for output, slope, curve in zip(trace.outputs, trace.slopes, curves, strict=True):
            saturated_share = float((slope[end - lags : end] < limit).mean())
            probes.append(LayerProbe(output[end - lags : end : STRIDE], saturated_share, curve))
    return probes


def reach(curve: LagCurve) -> int:
    """Return the first lag with a median gradient below a tenth, or else the curve's length."""
    below = np.flatnonzero(np.nan_to_num(curve.median, nan=0.0) < REACHED)
    return int(below[0]) if len(below) else len(curve.median)


class DivergenceError(CharlmError):
    """Training has diverged."""


def check_finite(tensors: Tensors, *, step: int) -> None:
    """Raise DivergenceError if a tensor of a step has a number that is not finite."""
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise DivergenceError(f"not every weight is finite at step {step:,}: {DIVERGED}")


@dataclass(frozen=True, eq=False)
class EvaluatedText:
    """The text that every evaluation of a run reads."""

    ids: Ids | None
    """Validation text, integers [n]; None if it has fewer than 2 ids."""
    measured_on: str
    """Description of the text for the user, with its length if only a part is read."""
    windows: Ids | None
    """Windows from `choose_windows`, of the training text if there is no validation text."""
    ngram: Score | None
    """Score of a 5-gram model (interpolated modified Kneser-Ney) after reading the end of the
    training text; None if there is no validation text."""

    @property
    def is_short(self) -> bool:
        """Whether there is a validation text, but too short for a standard error."""
        return self.ids is not None and len(self.ids) <= ERROR_BLOCK * MIN_BLOCKS

    @property
    def split(self) -> str:
        """Split that determines the best model: validation, or train without a validation text."""
        return "train" if self.ids is None else "validation"


def prepare_evaluated_text(corpus: Corpus) -> EvaluatedText:
    """Return the text that the evaluations of a run read, with the score of a 5-gram model.

    This takes up to half a second.
    """
    training = corpus.split("train")
    ids = corpus.split("validation", at_most=EVALUATED_CHARACTERS)
    if len(ids) < 2:
        windows = choose_windows(training[:MAX_TRAINING_CHARACTERS])
        return EvaluatedText(None, "the training text", windows, None)
    measured_on = "the validation text"
    if len(ids) < len(corpus.split("validation")):
        measured_on = f"the first {len(ids):,} characters of {measured_on}"
    ngram = ngram_score(ids, corpus.vocabulary, training)
    return EvaluatedText(ids, measured_on, choose_windows(ids), ngram)


def one_thread() -> threadpool_limits:
    """Return a context with one thread per matrix product, which is faster for small products."""
    return threadpool_limits(1, "blas")


class EvaluatedNetwork(NamedTuple):
    """The results of an evaluation."""

    score: Score
    model: TrainedModel
    """The network, with its score as in a model file."""
    sample: str
    """Text generated by the network, with its prompt; may be empty."""
    probes: list[LayerProbe]
    """Activity of each layer, lowest first; empty for a text of one character."""


def evaluate_network(
    engine: Engine, model: TrainedModel, text: EvaluatedText, *, config: Config, train_nats: float
) -> EvaluatedNetwork:
    """Score a network, generate a sample, and probe its layers.

    Without a validation text, the score is the training loss, `train_nats`.

    Raises:
        DivergenceError: A weight or the score is not finite.

    """
    step = model.facts["step"]
    score = Score(train_nats, 0)
    check_finite(model.parameters.tensors, step=step)
    with one_thread(), np.errstate(all="ignore"):  # huge weights give a score that is not finite
        if text.ids is not None:
            score = engine.score(model.parameters, text.ids)
            if not np.isfinite(score.nats_per_char):
                raise DivergenceError(
                    f"the validation loss is {score.nats_per_char} at step {step:,}: "
                    f"{DIVERGED if step else OVERFLOWS}"
                )
        sample = sample_text(config, model)
        probes = [] if text.windows is None else probe(model.parameters, text.windows)
    score = replace(score, split=text.split)
    facts = {**model.facts, "score": score.to_fields()}
    return EvaluatedNetwork(score, replace(model, facts=facts), sample, probes)


def network_of(
    engine: Engine, config: Config, corpus: Corpus, *, step: int, epoch: float
) -> TrainedModel:
    """Return a copy of the present network, without a score."""
    return TrainedModel(
        parameters=engine.parameters(),
        vocabulary=corpus.vocabulary,
        config=config.model_dump(mode="json"),
        facts={"step": step, "epoch": epoch, CORPUS: corpus_identity(corpus)},
    )


def sample_text(config: Config, model: TrainedModel) -> str:
    """Return a sample with the prompt and the seed of the run; "" if its length is 0.

    Raises:
        CharlmError: The logits are not finite.

    """
    settings = config.sampling
    if not settings.length:
        return ""
    sampler = Sampler.of(settings, temperature=model.sampling_temperature)
    request = TextRequest(settings.length, sampler, config.seed, settings.prompt)
    return settings.prompt + "".join(generate_text(model, request))
