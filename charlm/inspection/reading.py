"""A network and the text that it reads, with results that several sections share."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.api.evaluation import ScoredText
from charlm.config.file import leaves
from charlm.core.model_file import TrainedModel
from charlm.core.rnn import Floats, Integers, Parameters, State, Values, read_outputs
from charlm.core.scoring import only_finite, score_stream
from charlm.core.vocabulary import describe_left_out
from charlm.errors import CharlmError
from charlm.measures.baselines import MAX_TRAINING_CHARACTERS
from charlm.measures.estimates import Measured
from charlm.measures.gradients import Trace, read_trace
from charlm.measures.ngrams import count_orders, score_ngrams
from charlm.runs.folder import CORPUS
from charlm.wording import counted

ORDERS = range(2, 10)
"""Orders of the n-grams that are counted; an n-gram of order n predicts from n - 1 characters."""
MOST_STATES = 5_000
"""Maximum number of characters whose states are held in memory."""
MOST_LOGITS = 20_000_000
"""Maximum number of logits after the characters that are read with their derivatives."""
MOST_VALUES = 1 << 24
"""Maximum number of outputs of a layer that are in memory while contexts are compared (64 MB)."""
FULL_SIZE = 700_000
"""Maximum number of weights of a network for which the full number of characters is read."""


@dataclass(frozen=True)
class Limits:
    """Limits for the characters that a report is based on."""

    characters: int
    """Maximum number of characters that are read."""
    context: int
    """Maximum number of characters that are predicted from only the last k characters."""
    predictions: int
    """Maximum number of predictions whose gradients are followed back."""
    traced: int
    """Maximum number of characters that are read with their derivatives."""
    replacements: int
    """Maximum number of characters that are replaced, one at a time."""


def limits_for(parameters: Parameters) -> Limits:
    """Return the limits for a network; beyond FULL_SIZE parameters, they fall as the network grows.

    They keep the memory of a report below 1 GB, in addition to the model and the text.
    """
    scale = min(1.0, FULL_SIZE / parameters.architecture.size)
    rows = MOST_LOGITS // parameters.vocabulary_size
    context = max(2_500, int(15_000 * scale))
    return Limits(
        characters=max(5_000, int(100_000 * scale)),
        context=max(1_000, min(context, parameters.rows_at_once(MOST_VALUES))),
        predictions=min(max(50, int(400 * scale)), rows // 2),
        traced=max(200, min(max(1_000, int(2_000 * scale)), rows)),
        replacements=min(max(32, int(128 * scale)), rows // 4),
    )


@dataclass(frozen=True)
class SampledCharacters:
    """The characters of a text that a number is based on, counted from 1."""

    first: int
    last: int
    count: int
    """Number of characters, evenly spaced from first to last."""

    @classmethod
    def of(cls, indices: range | NDArray[Any]) -> "SampledCharacters":
        """Return the sample with these indices of ids: at least one, rising, counted from 0."""
        return cls(int(indices[0]) + 1, int(indices[-1]) + 1, len(indices))

    def __str__(self) -> str:
        """Return the sample in words: "1,999 characters (2 to 2,000)"."""
        is_every = self.count == self.last - self.first + 1
        noun = "character" if is_every else "evenly spaced character"
        return f"{counted(self.count, noun)} ({self.first:,} to {self.last:,})"


@dataclass(frozen=True, eq=False)
class Reading:
    """A network and a text that it reads."""

    name: str
    """Path of the run, for the user."""
    trained: TrainedModel
    text: ScoredText
    """The whole text, of at least 2 characters."""
    limits: Limits
    path: Path
    """File of the model."""

    @property
    def parameters(self) -> Parameters:
        """The weights."""
        return self.trained.parameters

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting of the run by its dotted key, the texts, and the model file.

        The text that the run was trained on is known by the start of a SHA-256.
        """
        corpus = json.dumps(self.trained.facts.get(CORPUS)).encode()
        trained_on = hashlib.sha256(corpus).hexdigest()[:8]
        facts = {"text": self.text.name, "trained_on": trained_on, "model": self.path.name}
        return leaves(self.trained.config) | facts

    @cached_property
    def measured(self) -> Measured:
        """The characters that are read."""
        digest = self.text.sha256(self.trained.vocabulary, most=self.limits.characters)
        return Measured(self.text.name, digest, (0, len(self.ids)))

    @cached_property
    def ids(self) -> Integers:
        """The ids of the part of the text that is read, int64 [n]."""
        return np.asarray(self.text.ids[: self.limits.characters], np.int64)

    @cached_property
    def trace(self) -> Trace:
        """The beginning of the text, read with its derivatives in float64.

        Vanishing gradients in float32 would become denormal numbers, with which products take
        several times as long.
        """
        return read_trace(self.parameters.cast(np.float64), self.ids[: self.limits.traced])

    @cached_property
    def states(self) -> State:
        """The outputs of every layer at the beginning of the text, float32 [up to MOST_STATES, H].

        Raises:
            CharlmError: An output is not finite, which can happen with relu and linear.

        """
        first = tuple(layer[0] for layer in self.parameters.zero_state(1))
        outputs = read_outputs(self.parameters, self.ids[:MOST_STATES], first)
        if not all(np.isfinite(output).all() for output in outputs):
            raise CharlmError("the outputs of the network are not finite on this text")
        return outputs

    @cached_property
    def nats(self) -> Floats:
        """The nats of all ids but the first, read as one stream, float32 [n - 1].

        Raises:
            CharlmError: A loss is not finite.

        """
        return np.concatenate([*only_finite(score_stream(self.parameters, self.ids))])

    @cached_property
    def ngram_nats(self) -> dict[int, Values]:
        """The nats of all ids but the first by n-grams, float64 [n - 1] by order.

        The mapping is empty if the text is not compared with the training text.
        """
        if self.text.training is None:
            return {}
        models = count_orders(
            self.text.training[-MAX_TRAINING_CHARACTERS:],
            vocabulary_size=len(self.trained.vocabulary),
            orders=ORDERS,
        )
        scores = {order: [*score_ngrams(model, self.ids)] for order, model in models.items()}
        return {order: np.concatenate(blocks) for order, blocks in scores.items()}

    def notes(self) -> list[str]:
        """Return a sentence about each part of the texts that was left out."""
        notes: list[str] = []
        if self.text.left_out:
            left_out = describe_left_out(self.text.left_out, "the text")
            notes.append(f"{left_out[0].upper()}{left_out[1:]}.")
        if len(self.ids) < len(self.text.ids):
            notes.append(
                f"Only the first {len(self.ids):,} of {len(self.text.ids):,} characters of the "
                "text were read."
            )
        if self.text.no_comparison:
            notes.append(f"No n-gram models, because {self.text.no_comparison}.")
        return notes
