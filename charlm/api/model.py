"""A trained model in memory: generate text, score text, or step through it by hand.

Axes: B batch, T time, V vocabulary, H units.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm.api import WINDOW
from charlm.checks import check_path, check_whole
from charlm.core.generation import (
    RANDOM_SEEDS,
    GeneratedText,
    TextRequest,
    generate_text,
    random_seed,
)
from charlm.core.model_file import TrainedModel, read_model
from charlm.core.rnn import Floats, Integers, State, ignore_overflow, read_outputs
from charlm.core.sampler import Sampler
from charlm.core.vocabulary import Ids, Vocabulary
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, Progress, ignore
from charlm.runs.folder import find_model
from charlm.wording import short_repr

if TYPE_CHECKING:
    from charlm.config.schema import Config
    from charlm.core.scoring import ScoringProtocol

MAX_STREAMS = 1_000_000
"""Largest batch size of a state."""
MAX_REJECTED = 100
"""Number of lines in a row that are rejected before no more are generated."""
LINES_BEFORE, CHARACTERS_BEFORE = 8, 256
"""Maximum number of lines, and of their characters, that the model reads before a new line."""
Text = str | NDArray[Any] | Sequence[int]
"""Text as a string, or as ids, integers [T]."""


def load(model: "str | Path | Model | None" = None, *, on_event: OnEvent = ignore) -> "Model":
    """Load a trained model.

    Args:
        model: A model file, a checkpoint, a run (its best model), a part of a run's name for
            the newest such run under runs/, or river-plays; None = the newest run. A Model is
            returned unchanged.
        on_event: Called with notes.

    Raises:
        CharlmError: There is no such model, or it is damaged.

    """
    if isinstance(model, Model):
        return model
    if model is not None:
        model = Path(check_path("model", model))
    file = find_model(model, on_event=on_event)
    return Model(file, read_model(file))


@dataclass(frozen=True, eq=False)
class Surprise:
    """Loss of a model at each character of a text; a notebook shows it as coloured text."""

    characters: tuple[str, ...]
    """Characters of the text, [T]."""
    nats: Floats
    """Losses -log p of all characters but the first, float32 [T - 1]."""

    def _repr_html_(self) -> str:
        """Return the text as HTML, with a stronger background for a higher loss."""
        from charlm.api.viewer import VIEWER_STYLE, coloured_text

        text = coloured_text(self.characters, [None, *self.nats.tolist()])
        style = 'style="white-space:pre-wrap;color:CanvasText;background:Canvas"'
        return f"<style>{VIEWER_STYLE}</style><pre {style}>{text}</pre>"


class NewLines(list[str]):
    """Different lines, none of which is in the text of the run."""

    def __init__(self) -> None:
        super().__init__()
        self.rejected = Counter[str]()
        """Number of other lines that were generated, by the reason why they are left out."""


class Model:
    """A trained network with its vocabulary; see `charlm.load`.

    Methods read characters that the model does not know as its unknown id, or leave them out if it
    has none, and compose accents (normal form NFC). They read
    `model.vocabulary.decode(model.vocabulary.encode(text))`, whose length is T in their
    documentation.
    """

    def __init__(self, path: Path, trained: TrainedModel) -> None:
        self.path = path
        """Path of the model file."""
        self.trained = trained
        """Network, vocabulary and config."""

    def __repr__(self) -> str:
        network = self.trained.architecture
        units = f"{network.layers} x {network.units} units"
        return f"<Model {self.path}: {units}, {network.vocabulary_size} ids>"

    @property
    def vocabulary(self) -> Vocabulary:
        """Characters by id."""
        return self.trained.vocabulary

    @cached_property
    def config(self) -> "Config":
        """Settings of the run that trained the model; raises CharlmError if they are invalid."""
        return self.trained.parse_config(origin=str(self.path))

    @property
    def sampling_temperature(self) -> float:
        """Default temperature of `generate`, 0 or more."""
        return self.trained.sampling_temperature

    def zero_state(self, batch: int = 1) -> State:
        """Return the state before the first character: zeros, float32 [batch, H] for each layer."""
        check_whole("batch", batch, 0, MAX_STREAMS)
        return self.trained.parameters.zero_state(batch)

    def step(
        self, ids: Ids | Sequence[int], state: Sequence[Floats] | None = None
    ) -> tuple[Floats, State]:
        """Read one character in each of B streams.

        Args:
            ids: Ids, integers [B] from 0 to V - 1.
            state: Hidden state, float32 [B, H] for each layer; None = zeros.

        Returns:
            The logits of the next character, float32 [B, V], and the new state.

        Raises:
            CharlmError: An id is out of range, or the state has the wrong shape.

        """
        ids = _check_ids(ids, len(self.vocabulary))
        return self.trained.parameters.step(ids, self._state_of(state, streams=len(ids)))

    def logits(self, text: Text, *, state: Sequence[Floats] | None = None) -> Floats:
        """Return the logits after each character of a text, float32 [T, V].

        Args:
            text: Characters, or ids, integers [T].
            state: Hidden state before the text, float32 [1, H] for each layer; None = zeros.

        Raises:
            CharlmError: An id is out of range, or the state has the wrong shape.

        """
        ids = self._encode(text)
        logits, _ = self.trained.parameters.unroll(ids[:, None], self._state_of(state))
        return logits[:, 0]

    def score(
        self,
        text: Text,
        *,
        protocol: "ScoringProtocol" = "stream",
        window: int = WINDOW,
        state: Sequence[Floats] | None = None,
    ) -> Floats:
        """Return the losses -log p of all characters of a text but the first, float32 [T - 1].

        `charlm.evaluate` reports their mean as nats per character.

        Args:
            text: Characters, or ids, integers [T].
            protocol: `stream` reads the text once; `windows` starts each window from zeros.
            window: Window length in characters, 1 or more.
            state: Hidden state before a stream, float32 [1, H] for each layer; None = zeros.

        Raises:
            CharlmError: T < 2, an argument is out of range, windows are combined with a state, or
                a loss is not finite.

        """
        from charlm.core.scoring import score_ids

        if state is not None and protocol != "stream":
            raise CharlmError(f"state: cannot be used with protocol {protocol}, only with stream")
        ids = self._encode(text)
        first = self._state_of(state)
        with ignore_overflow():  # score_ids raises a CharlmError
            blocks = score_ids(
                self.trained.parameters, ids, protocol=protocol, window=window, state=first
            )
            return np.concatenate([block.ravel() for block in blocks])

    def states(self, text: Text, *, state: Sequence[Floats] | None = None) -> State:
        """Return the hidden states after each character, float32 [T, H] for each layer.

        Args:
            text: Characters, or ids, integers [T].
            state: Hidden state before the text, float32 [1, H] for each layer; None = zeros.

        Raises:
            CharlmError: An id is out of range, or the state has the wrong shape.

        """
        first = tuple(layer[0] for layer in self._state_of(state))
        return read_outputs(self.trained.parameters, self._encode(text), first)

    def surprise(self, text: str) -> "Surprise":
        """Return the losses of a text for display in a notebook; see `score` for errors."""
        ids = self._encode(text)
        return Surprise(tuple(self.vocabulary.glyphs[index] for index in ids), self.score(ids))

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int | None = None,
        stop: str | None = None,
        ignore_end: bool = False,
    ) -> GeneratedText:
        """Generate a text that continues a prompt.

        Args:
            prompt: Text that the model reads first; the result does not repeat it.
            length: Maximum number of characters; 0 = unlimited.
            temperature: Divisor of the logits, 0 or more; 0 = always the most likely character,
                None = `self.sampling_temperature`.
            top_k: Sample from the k most likely characters, 1 or more; None = all.
            top_p: Sample from the smallest set of characters whose probabilities add up to this
                value, above 0 and at most 1; None = all.
            min_p: Leave out characters whose probability is below this share of the highest, 0 to
                1.
            seed: Seed, 0 or more; the same seed gives the same text. None = a random seed.
            stop: Text before which the result ends.
            ignore_end: Whether to continue with a blank line when the model ends the text.

        Returns:
            An iterator that generates the text chunk by chunk; `str` of the iterator is the whole
            text.

        Raises:
            CharlmError: An argument is out of range.

        """
        temperature = self.sampling_temperature if temperature is None else temperature
        request = TextRequest(
            length,
            Sampler(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p),
            seed=random_seed() if seed is None else seed,
            prompt=prompt,
            stops=[stop] if stop else [],
            ignore_end=ignore_end,
        )
        return generate_text(self.trained, request)

    def lines(
        self,
        count: int,
        prompt: str = "",
        *,
        seed: int | None = None,
        on_line: Callable[[str], object] | None = None,
        on_event: OnEvent = ignore,
        **options: Any,
    ) -> NewLines:
        """Generate different lines, none of which is a line of the text of the model's run.

        Each is generated after some lines of this text from a random place, so that new lines
        begin with the same letters as the lines of the text.

        Args:
            count: Number of lines, 1 or more.
            prompt: Beginning of each line; the model also reads the lines before it, if any.
            seed: Seed, 0 or more; the same seed gives the same lines. None = a random seed.
            on_line: Called with each line when it is found.
            on_event: Called with the progress, and with a note if the text is not known.
            options: `length` of a line, `temperature`, `top_k`, `top_p`, `min_p`; see `generate`.

        Returns:
            The lines, and the numbers of rejected lines. There are fewer lines than `count` if
            MAX_REJECTED are rejected in a row.

        Raises:
            CharlmError: An argument is out of range, the model does not know line breaks, or the
                text of the run is damaged.

        """
        from charlm.runs.run import run_corpus

        check_whole("count", count, 1)
        first_seed = random_seed() if seed is None else seed
        check_whole("seed", first_seed, 0)
        if "\n" not in self.vocabulary.characters:
            raise CharlmError(f"{self.path}: does not know line breaks, so it cannot end a line")
        known = [""]
        corpus = run_corpus(self.path, self.trained)
        if corpus is None:
            on_event(Note(f"{self.path}: its text is not known; new lines may be lines of it"))
        else:
            known = self.vocabulary.spell(corpus.ids, end="\n").split("\n")
        problems = {**dict.fromkeys(known, "in the text already"), "": "empty"}
        lines = NewLines()
        beginning = self.vocabulary.normalize(prompt).rpartition("\n")[2]
        places = np.random.default_rng(first_seed)
        last = 0
        for number in itertools.count():
            on_event(Progress("generating lines", len(lines), count, "line"))
            if len(lines) == count or number - last >= MAX_REJECTED:
                break
            place = int(places.integers(len(known)))
            read = known[max(0, place - LINES_BEFORE) : place]
            before = "\n".join(["", *read, ""])[-CHARACTERS_BEFORE:]
            own_seed = first_seed + number * RANDOM_SEEDS
            text = self.generate(f"{before}{prompt}", seed=own_seed, stop="\n", **options)
            line = f"{beginning}{text}"
            problem = problems.get(line if line.strip() else "")
            if text.stopped_by == "length":
                problem = "too long"
            if problem is not None:
                lines.rejected[problem] += 1
                continue
            lines.append(line)
            problems[line] = "repeated"
            last = number + 1
            if on_line is not None:
                on_line(line)
        return lines

    def _state_of(self, state: Sequence[Floats] | None, *, streams: int = 1) -> State:
        """Return a caller's state as float32 [streams, H] for each layer; None = zeros."""
        zeros = self.zero_state(streams)
        if state is None:
            return zeros
        arrays = tuple(np.asarray(layer, np.float32) for layer in state)
        found = [array.shape for array in arrays]
        expected = [zero.shape for zero in zeros]
        if found != expected:
            raise CharlmError(f"state: found arrays of the shapes {found}; must be {expected}")
        return arrays

    def _encode(self, text: Text) -> Ids:
        if isinstance(text, str):
            return self.vocabulary.encode(text)
        return _check_ids(text, len(self.vocabulary), argument="text")


def _check_ids(
    ids: Ids | Sequence[int], vocabulary_size: int, *, argument: str = "ids"
) -> Integers:
    """Return a caller's ids as int64 [n]; raises CharlmError for invalid ids."""
    try:
        array = np.asarray(ids)
    except ValueError:  # rows of different lengths
        array = np.asarray(ids, object)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        value = short_repr(ids) if array.ndim == 1 else f"shape {array.shape}"
        raise CharlmError(
            f"{argument}: found {value}; must be a string, or whole numbers in a single row"
        )
    for index in (array.min(initial=0), array.max(initial=0)):
        if not 0 <= index < vocabulary_size:
            raise CharlmError(f"{argument}: found {index}; must be from 0 to {vocabulary_size - 1}")
    return array.astype(np.int64)
