"""What a section of a report is made from, and what it has found: data, a figure, rows of a table, a sentence.

A `Reading` is a network, a text, and what several sections take from reading it, computed once. How a quantity is
computed and its figure are in one module, which ends with a function from a `Reading` to what it has found. Another
quantity is such a module, a name in `charlm.inspection.inspecting`, and its words in assets/words.yaml.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.evaluation.baselines import MAX_TRAINING_CHARACTERS, count_ngrams, score_ngrams
from charlm.evaluation.scoring import only_finite, score_stream
from charlm.inspection.figures import Figure, Panel
from charlm.network.gradients import Trace, read_text
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Parameters, State, read_outputs
from charlm.text.vocabulary import describe_left_out


@dataclass(frozen=True, eq=False)
class Found:
    """What a section has found about a network."""

    data: Any
    """What the JSON holds: dataclasses, arrays, lists and numbers."""
    figure: Callable[[], Figure] | None = None
    """Draws what is drawn for each run alone; None if there is no such figure."""
    items: Sequence[Any] = ()
    """The rows of its table: objects or dictionaries, whose fields the columns name."""
    sentence: str = ""
    """A part of the first sentence of the page, whose subject is the network; "" = nothing to say."""
    html: str = ""
    """What the page shows besides."""
    positions: range | NDArray[Any] = range(0)
    """Of the characters of the text that it rests on, rising."""
    panels: Sequence[Panel] = ()
    """What can be drawn beside that of other runs."""


def items_of(arrays: Any, *names: str) -> list[dict[str, Any]]:
    """Return a dictionary for each place of some arrays of a dataclass, [n] each."""
    rows = zip(*(getattr(arrays, name).tolist() for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


ORDERS = range(2, 10)
"""Of the n-grams that are counted: each knows one character less."""
MOST_STATES = 5_000
"""States of every layer that are held at once."""
MOST_TRACED, MOST_LOGITS = 2_000, 20_000_000
"""Characters that are followed one by one, and their logits, which are held at once: 160 MB in float64."""
MOST_VALUES = 1 << 24
"""Of a layer after different contexts, held at once: 64 MB."""
FULL_SIZE, DOUBLE_UP_TO = 700_000, 1_600_000
"""Up to how many parameters a network has the full limits, and its derivatives are computed in float64."""


@dataclass(frozen=True)
class Limits:
    """How much of a text is read."""

    characters: int
    """In all."""
    context: int
    """Characters whose context is cut."""
    predictions: int
    """Whose gradients are followed back."""


def limits_for(parameters: Parameters) -> Limits:
    """Return the limits for a network: from FULL_SIZE on, the more parameters it has, the fewer characters."""
    scale = min(1.0, FULL_SIZE / parameters.architecture.size)
    return Limits(
        characters=max(5_000, int(100_000 * scale)),
        context=max(1_000, min(max(2_500, int(15_000 * scale)), MOST_VALUES // parameters.width)),
        predictions=max(50, int(400 * scale)),
    )


@dataclass(frozen=True, eq=False)
class Reading:
    """A network and a text that it reads."""

    name: str
    """The path of the run, for the user."""
    trained: TrainedModel
    text_name: str
    """What is read, for the user."""
    text: NDArray[Any]
    """The ids of the whole text, integers [n], n >= 2."""
    limits: Limits
    training_text: NDArray[Any] | None = None
    """The ids of the text that the network was trained on, integers [m]; None if it is not known."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How often each character occurs that was left out of the text, because the model does not know it."""

    @property
    def parameters(self) -> Parameters:
        """The weights."""
        return self.trained.parameters

    @property
    def recipe(self) -> str:
        """What the network was trained with: the same for runs that differ in `seed` alone."""
        return json.dumps([{**self.trained.config, "seed": None}, self.trained.facts.get("corpus")], sort_keys=True)

    @property
    def characters(self) -> tuple[str | None, ...]:
        """The character of each id; None for a reserved id."""
        return self.trained.vocabulary.characters

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The ids of the text that are read."""
        return np.asarray(self.text[: self.limits.characters], np.int64)

    @cached_property
    def trace(self) -> Trace:
        """The beginning of the text, read with its derivatives."""
        most = max(200, min(MOST_TRACED, MOST_LOGITS // self.parameters.vocabulary_size))
        dtype = np.float64 if self.parameters.architecture.size <= DOUBLE_UP_TO else np.float32
        return read_text(self.parameters.cast(dtype), self.ids[:most])

    @cached_property
    def states(self) -> State:
        """The outputs of every layer at the beginning of the text, float32 [up to MOST_STATES, H].

        Raises:
            CharlmError: an output is not finite, as the activations relu and linear can make it.

        """
        first = tuple(layer[0] for layer in self.parameters.zero_state(1))
        outputs = read_outputs(self.parameters, self.ids[:MOST_STATES], first)
        if not all(np.isfinite(output).all() for output in outputs):
            raise CharlmError("the outputs of the network are not finite on this text")
        return outputs

    @cached_property
    def nats(self) -> NDArray[np.floating[Any]]:
        """The nats of all ids but the first, read as one stream: float32 [n - 1]; CharlmError if not finite."""
        return np.concatenate([*only_finite(score_stream(self.parameters, self.ids))])

    @cached_property
    def ngram_nats(self) -> dict[int, NDArray[np.float64]]:
        """The nats of all ids but the first by the n-grams of each of ORDERS; none without the training text."""
        if self.training_text is None or not len(self.training_text):
            return {}
        counted, size = self.training_text[-MAX_TRAINING_CHARACTERS:], len(self.trained.vocabulary)
        models = {order: count_ngrams(counted, vocabulary_size=size, order=order) for order in ORDERS}
        return {order: np.concatenate([*score_ngrams(model, self.ids)]) for order, model in models.items()}

    def notes(self) -> list[str]:
        """Return what the limits, and the model's vocabulary, leave out, each a sentence."""
        left_out = describe_left_out(self.left_out, "the text") if self.left_out else ""
        notes = [f"{left_out[0].upper()}{left_out[1:]}."] if left_out else []
        if len(self.ids) < len(self.text):
            notes.append(f"Text: the first {len(self.ids):,} of {len(self.text):,} characters.")
        if self.training_text is not None and len(self.training_text) > MAX_TRAINING_CHARACTERS:
            notes.append(f"N-grams: counted on the last {MAX_TRAINING_CHARACTERS:,} characters of the training text.")
        return notes
