"""The validation of a network in training: its score, the texts that it writes, and the scores to beat."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from charlm.config.schema import SamplingConfig
from charlm.evaluation.baselines import NGRAM_ORDER, compressed_nats, ngram_nats
from charlm.evaluation.scoring import estimate_stream
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, nats
from charlm.runs.run import Run
from charlm.sampling.generation import choose_ids, encode_prompt, forbidden_ids, read_prompt
from charlm.sampling.sampler import Sampler
from charlm.text.corpus import Corpus
from charlm.text.findings import TextFacts, describe_text
from charlm.text.vocabulary import Ids
from charlm.training.checkpoints import Progress

BESIDE = (0.5, 1.0)
"""Temperatures beside the one of the config."""
INSTEAD = 0.8
"""The temperature in place of one of these that the config has."""
NGRAM = f"{NGRAM_ORDER}-gram"
MAX_TRAINING_CHARACTERS = 1_000_000
"""The simple models learn from the end of the training text; a 5-gram model of so much takes a third of a second."""


@dataclass(frozen=True, eq=False)
class WrittenSample:
    """A sampled text."""

    temperature: float
    text: str
    """The prompt included."""
    glyphs: tuple[str, ...]
    """Its characters without the prompt; at level byte, one of U+0000 to U+00FF for each byte."""
    nats: Floats
    """-ln p of each of them at temperature 1, float32 [number of glyphs]."""


def temperatures(configured: float) -> tuple[float, ...]:
    """Return three different temperatures, that of the config first."""
    others = [INSTEAD if temperature == configured else temperature for temperature in BESIDE]
    return (configured, *others)


def write_sample(bundle: Bundle, settings: SamplingConfig, *, seed: int, temperature: float) -> WrittenSample | None:
    """Sample a text; None if `sampling.length` is 0.

    The text is that of `charlm.sampling.generation.generate_text`, up to rounding.

    Args:
        bundle: The network.
        settings: The section `sampling` of the config; its temperature is not used.
        seed: 0 or more.
        temperature: 0 or more.

    Raises:
        CharlmError: the logits are not finite.

    """
    if not settings.length:
        return None
    vocabulary, parameters = bundle.vocabulary, bundle.parameters
    _, state = read_prompt(parameters, encode_prompt(vocabulary, settings.prompt, unknown="skip"))
    chosen: list[int] = []
    logits: list[Floats] = []
    for index, row in choose_ids(
        parameters,
        state,
        sampler=Sampler(temperature, settings.top_k, settings.top_p, settings.min_p),
        uniforms=np.random.default_rng([seed, 0]).random(settings.length).tolist(),
        forbidden=forbidden_ids(vocabulary),
    ):
        chosen.append(index)
        logits.append(row.copy())
        if index == vocabulary.end_of_text_id:
            break
    count = len(chosen) - (chosen[-1] == vocabulary.end_of_text_id)
    ids = np.array(chosen)
    return WrittenSample(
        temperature,
        settings.prompt + vocabulary.decode(ids[:count]),
        tuple(vocabulary.glyphs[index] for index in chosen[:count]),
        nats(np.stack(logits), ids)[:count],
    )


class Validator:
    """Evaluates the network of a run without changing it.

    Args:
        run: Its config and corpus.

    """

    def __init__(self, run: Run) -> None:
        self.config = run.config
        ids = run.corpus.split("validation", at_most=self.config.training.evaluate_characters)
        self.validation = ids if len(ids) > 1 else None
        """The ids of the validation text, integers [n]; None if there are fewer than 2."""
        self.other_temperatures = temperatures(self.config.sampling.temperature)[1:]
        """Temperatures of texts to show beside the one of the config."""
        self.split = "train" if self.validation is None else "validation"
        """The text that the best score is measured on: validation, or train if there is no validation text."""

    def score(self, bundle: Bundle) -> float | None:
        """Return the loss on the validation text in nats per character; None if there is no such text."""
        if self.validation is None:
            return None
        with np.errstate(all="ignore"):  # weights that are too large give a score that is not finite
            return estimate_stream(bundle.parameters, self.validation).nats_per_char

    def sample(self, bundle: Bundle, *, temperature: float | None = None) -> WrittenSample | None:
        """Sample a text at a temperature, None = that of the config; None if `sampling.length` is 0."""
        settings = self.config.sampling
        at = settings.temperature if temperature is None else temperature
        return write_sample(bundle, settings, seed=self.config.seed, temperature=at)

    def update_best(self, nats: float, progress: Progress) -> bool:
        """Compare a loss with the best so far, and record the result in `progress`.

        Args:
            nats: The loss at the present step in nats per character; if it is not finite, it is never the best.
            progress: Has the best loss so far; it is changed.

        Returns:
            Whether the loss is the best so far.

        """
        stopping = self.config.training.early_stopping
        margin = stopping.min_delta if stopping else 0.0
        best = progress.best_nats
        is_best = math.isfinite(nats) and (best is None or nats < best - margin)
        if is_best:
            progress.best_nats, progress.best_step, progress.evaluations_without_best = nats, progress.step, 0
        else:
            progress.evaluations_without_best += 1
        return is_best


class TextReport:
    """A look at the text of a run, which begins when the object is made.

    Args:
        corpus: The text.
        validation: The ids that the run is evaluated on, integers [n], n >= 2; None = there is no such text.

    """

    def __init__(self, corpus: Corpus, validation: Ids | None) -> None:
        worker = ThreadPoolExecutor(max_workers=1)
        self._facts = worker.submit(describe_text, corpus)
        self._simple_nats = worker.submit(score_simple_models, corpus, validation)
        worker.shutdown(wait=False)

    def facts(self) -> TextFacts:
        """Return the facts about the text when they are known.

        Raises:
            CharlmError: an id is not in the vocabulary, or ids.bin has become shorter.

        """
        return self._facts.result()

    def simple_nats(self) -> Mapping[str, float]:
        """Return the scores of simple models when they are known, see `score_simple_models`."""
        return self._simple_nats.result()


def score_simple_models(corpus: Corpus, validation: Ids | None) -> dict[str, float]:
    """Return what a 5-gram model (interpolated modified Kneser-Ney) and bz2 score on the validation text.

    Args:
        corpus: The text; both learn from the end of its training part.
        validation: Ids, integers [n], n >= 2; None = there is no such text.

    Returns:
        Nats per character by the names 5-gram and bz2; empty without a validation text.

    """
    if validation is None:
        return {}
    training = corpus.split("train", check=False)[-MAX_TRAINING_CHARACTERS:]
    corpus.check_ids(training)
    ngram = ngram_nats(validation, training, vocabulary_size=len(corpus.vocabulary))
    return {NGRAM: ngram, **compressed_nats(validation, corpus.vocabulary, training, names=("bz2",))}
