"""What a report is made from, and what a section of it consists of.

How a quantity is computed, its figure and its table are in one module: another quantity is a module that ends with its
`Section`, and a name in `charlm.inspection.report`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charlm.errors import CharlmError, counted
from charlm.evaluation.baselines import MAX_TRAINING_CHARACTERS
from charlm.evaluation.ngrams import NGrams, count_ngrams, score_ngrams
from charlm.evaluation.scoring import only_finite, score_stream
from charlm.inspection.markup import to_plain
from charlm.network.gradients import Trace, read_text
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Parameters, State, read_outputs
from charlm.text.vocabulary import describe_left_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Characters = Sequence[str | None]
"""The character of each id; None for a reserved id."""
Rows = Sequence[Sequence[object]]

MOST_CHARACTERS = 100_000
MOST_POSITIONS = 2_000
"""Of the part of the text that is followed character by character."""
MOST_LOGITS = 20_000_000
"""That are held at once; takes 160 MB in float64."""
MOST_VALUES = 16_777_216
"""Of the states of a layer after different contexts that are held at once; takes 64 MB."""
MOST_STATES = 5_000
"""States of every layer that are held at once."""
DOUBLE_UP_TO = 1_500_000
"""Up to how many weights the derivatives are computed in float64."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What a report is made on."""

    name: str
    """The path of the run, for the user."""
    trained: TrainedModel
    text_name: str
    """What is read, for the user."""
    ids: NDArray[Any]
    """The text, integers [n], n >= 2."""
    training_ids: NDArray[Any] | None = None
    """The text that the network was trained on, integers [m]; None if it is not known."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How often each character occurs that was left out of the text, because the model does not know it."""


@dataclass(frozen=True)
class Limits:
    """The limits for a network of some size; all of them count characters."""

    characters: int
    """Whose loss is divided by classes."""
    positions: int
    """That are read with their derivatives, from the beginning of the text."""
    gradient_positions: int
    """Predictions whose gradients are followed back."""
    context_positions: int
    """Whose context is cut, from the beginning of the text."""
    spectrum_positions: int
    """Steps at which the eigenvalues of V D are computed."""
    dtype: DTypeLike
    """Of the derivatives."""
    response_positions: int = 128
    """Characters that are replaced, one at a time, for the impulse response."""
    lags: int = 128
    """How far gradients are followed back, and the impulse response on."""


def limits_for(parameters: Parameters) -> Limits:
    """Return the limits for a network: the more weights it has, the fewer characters."""
    weights = sum(layer.kernel.size + layer.recurrent_kernel.size for layer in parameters.layers)
    units = max(layer.units for layer in parameters.layers)
    return Limits(
        characters=_between(5_000, 8e10 / weights, MOST_CHARACTERS),
        positions=_between(200, MOST_LOGITS / parameters.vocabulary_size, MOST_POSITIONS),
        gradient_positions=_between(50, 6e8 / weights, 400),
        context_positions=_between(1_000, min(8e9 / weights, MOST_VALUES / parameters.width), MOST_CHARACTERS),
        spectrum_positions=_between(2, 1.5e9 / units**3, 16),
        dtype=np.float64 if weights <= DOUBLE_UP_TO else np.float32,
    )


def _between(least: int, wanted: float, most: int) -> int:
    return max(least, min(most, int(wanted)))


class Reading:
    """What the quantities of a report are computed from."""

    def __init__(self, subject: Subject, limits: Limits | None = None) -> None:
        self.subject = subject
        self.parameters, self.vocabulary = subject.trained.parameters, subject.trained.vocabulary
        self.limits = limits or limits_for(self.parameters)
        self.ids = np.asarray(subject.ids[: self.limits.characters], np.int64)
        known = subject.training_ids
        self.training_ids = None if known is None or not len(known) else known[-MAX_TRAINING_CHARACTERS:]
        self._ngrams: dict[int, NGrams] = {}

    @cached_property
    def trace(self) -> Trace:
        """The beginning of the text, read with its derivatives."""
        return read_text(self.parameters.cast(self.limits.dtype), self.ids[: self.limits.positions])

    @cached_property
    def states(self) -> State:
        """The outputs of every layer at the beginning of the text, float32 [up to 5,000, H].

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
        """The nats of all ids of the text but the first, read as one stream: float32 [n - 1].

        Raises:
            CharlmError: they are not finite.

        """
        return np.concatenate([*only_finite(score_stream(self.parameters, self.ids))])

    def ngram_nats(self, order: int) -> NDArray[np.float64]:
        """Return the nats of all ids of the text but the first by the n-grams of an order, 1 or more."""
        assert self.training_ids is not None
        if order not in self._ngrams:
            self._ngrams[order] = count_ngrams(self.training_ids, vocabulary_size=len(self.vocabulary), order=order)
        return np.concatenate([*score_ngrams(self._ngrams[order], self.ids)])

    def left_out(self) -> list[str]:
        """Return what the limits, and the model's vocabulary, leave out, each a sentence."""
        read, whole, left_out = len(self.ids), len(self.subject.ids), self.subject.left_out
        notes = [f"{describe_left_out(left_out, 'the text').replace('left', 'Left', 1)}."] if left_out else []
        if read < whole:
            notes.append(f"Text: the first {read:,} of {whole:,} characters.")
        known, used = self.subject.training_ids, self.training_ids
        if known is not None and used is not None and len(used) < len(known):
            notes.append(f"N-grams: counted on the last {MAX_TRAINING_CHARACTERS:,} characters of the training text.")
        return notes


def rests_on(found: Any) -> str:
    """Return which characters of the text what a section has found rests on, by its `positions`; "" if on none."""
    positions = getattr(found[0] if isinstance(found, tuple) else found, "positions", None)
    if positions is None or not len(positions):
        return ""
    first, last, count = int(positions[0]), int(positions[-1]), len(positions)
    return f"{counted(count, 'character')}, {'' if count > last - first else 'evenly spaced, '}{first:,} to {last:,}"


@dataclass(frozen=True)
class Chart:
    """A figure that is drawn for each run."""

    name: str
    """Unique among all charts."""
    label: str
    """What it shows: the caption, and what a screen reader says."""
    draw: "Callable[[Any], Figure | None]"
    """Returns the figure of what the section has found; None if there is nothing to draw."""
    shares_limits: bool = True
    """Whether the axes of all runs get the same limits."""


@dataclass(frozen=True)
class Table:
    """A table that is made for each run."""

    caption: str
    columns: tuple[str, ...]
    """Their heads."""
    rows: Callable[[Any, Characters], Rows]
    """Returns them, given what the section has found."""
    is_folded: bool = True
    """Whether the reader has to open it."""


@dataclass(frozen=True)
class Section:
    """A part of a report: how it is made, and what the page says and shows of it for each run."""

    name: str
    """The key of the JSON, and the anchor."""
    title: str
    equation: str
    """In the names of the code; `markup.equation` sets the indices."""
    see: str
    """One sentence that says what to see."""
    make: Callable[[Reading], Any]
    """Returns plain data; raises CharlmError or LinAlgError if it cannot be made."""
    chart: Chart | None = None
    table: Table | None = None
    view: Callable[[Any, Characters, int], str] | None = None
    """Returns HTML, given what was found, the character of each id, and the number of the run on the page."""
    data: Callable[[Any], Any] | None = None
    """Returns what the script of `view` reads, for `json.dumps`."""
    to_json: Callable[[Any, Characters], Any] = lambda found, _: to_plain(found)
    """Returns what the JSON of the report holds."""
    sentence: Callable[[Any], str] = lambda _: ""
    """Returns a part of the first sentence of a report, whose subject is the network; "" = nothing to say."""
    is_essential: bool = False
    """Whether there is no report without it: it is made first, and its error is that of the report."""


def layer_name(layer: int) -> str:
    """Return the name of a layer as a model file has it."""
    return f"rnn.{layer}"
