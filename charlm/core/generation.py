"""Generation of text from a prompt, one character at a time.

`choose_ids` is the loop that chooses ids; `generate_text` adds prompts, stop texts and the end of
the text. Several texts are generated one after the other, each with random numbers from its seed.

Axes: V vocabulary, H units.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from charlm.checks import check_whole
from charlm.core.model_file import TrainedModel
from charlm.core.reading import Stepper
from charlm.core.rnn import Integers, Parameters, State, ignore_overflow, read_outputs
from charlm.core.sampler import Sampler, make_chooser
from charlm.core.vocabulary import Ids, Vocabulary
from charlm.errors import CharlmError

PROMPT_BLOCK = 256
"""Number of characters of a prompt that are read at a time."""
RANDOM_SEEDS = 2**32
"""Upper limit of random seeds, which must be short enough to type."""
DRAWS = 256
"""Number of random numbers that are drawn at a time."""
BORDER = "\n\n"
"""Text printed for an end-of-text id if the sample goes on after it."""
StoppedBy = Literal["length", "stop text", "end of text"]


def read_prompt(parameters: Parameters, ids: Ids) -> Iterator[State]:
    """Read a prompt in blocks of a fixed length, so that its state is always the same, to the bit.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 1.

    Yields:
        The state after each block, float32 [1, H] for each layer.

    """
    state = parameters.zero_state(1)
    for start in range(0, len(ids), PROMPT_BLOCK):
        block = ids[start : start + PROMPT_BLOCK, None]
        # Values that are not finite raise a CharlmError later.
        with ignore_overflow():
            outputs = read_outputs(parameters, block, state)
        state = tuple(output[-1] for output in outputs)
        yield state


def random_seed() -> int:
    """Return a random seed."""
    return secrets.randbelow(RANDOM_SEEDS)


def _uniforms(seed: int) -> Iterator[float]:
    """Yield an endless stream of random numbers in [0, 1)."""
    generator = np.random.default_rng([seed, 0])
    while True:
        yield from generator.random(DRAWS).tolist()


@dataclass(frozen=True)
class TextRequest:
    """The settings of a text to generate.

    Raises:
        CharlmError: A value is out of range; the message names the field.

    """

    length: int
    """Maximum number of ids, 0 or more; 0 = endless. An end of text is two line breaks if the
    text continues after it."""
    sampler: Sampler
    """The settings of the choice of each id."""
    seed: int
    """Seed of the random numbers, 0 or more."""
    prompt: str = ""
    """The text to continue; see `TrainedModel.start` for an empty prompt."""
    stops: Sequence[str] = ()
    """Stop texts, none of them empty: the text ends before the first one that occurs. If several
    end at the same character, the longest one counts."""
    ignore_end: bool = False
    """Whether an end-of-text id becomes a blank line instead of ending the text."""

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0)
        check_whole("length", self.length, 0)


def choose_ids(model: TrainedModel, state: State, request: TextRequest) -> Iterator[int]:
    """Choose ids one after the other, except the unknown id.

    Args:
        model: The model.
        state: The state before the first id, float32 [1, H] for each layer.
        request: The settings of the text; its prompt has no effect.

    Yields:
        The next id.

    Raises:
        CharlmError: While iterating if the logits are not finite, or the vocabulary has only the
            unknown id.

    """
    unknown_id = model.vocabulary.unknown_id
    forbidden = [] if unknown_id is None else [unknown_id]
    stepper = Stepper(model.parameters, state, forbidden=forbidden)
    choose = make_chooser(request.sampler)
    for uniform in islice(_uniforms(request.seed), request.length or None):
        chosen = choose(stepper.logits, uniform)
        yield chosen
        stepper.advance(chosen)


class GeneratedText(Iterator[str]):
    """A text during generation: iterate over its chunks, or call `str` for the whole text.

    Added to a string, it is the whole text, too: `prompt + text`. The text does not include the
    prompt. A chunk has one or more characters. The last characters are held back while they may
    belong to a stop text.

    Args:
        ids: The ids of the text.
        vocabulary: The characters by id.
        request: The settings of the text.

    Raises:
        CharlmError: Too many combining marks follow each other in a stop text.

    """

    def __init__(self, ids: Iterator[int], vocabulary: Vocabulary, request: TextRequest) -> None:
        self.stopped_by: StoppedBy | None = None
        """The reason why the text ended; None while it can continue."""
        self._ids = enumerate(ids, start=1)
        self._length = request.length
        self._glyphs = vocabulary.glyphs
        self._end_id = vocabulary.end_of_text_id
        self._ignore_end = request.ignore_end
        stops = map(vocabulary.normalize, request.stops)
        self._stops = tuple(sorted(stops, key=len, reverse=True))
        self._tail = len(self._stops[0]) - 1 if self._stops else 0
        self._held = ""
        self._chunks: list[str] = []

    def __next__(self) -> str:
        while not self.stopped_by:
            chunk = self.read(1)
            if chunk:
                if self._length:  # an endless text is not kept in memory
                    self._chunks.append(chunk)
                return chunk
        raise StopIteration

    def read(self, count: int) -> str:
        """Generate up to `count` characters; return the text that is certain now, perhaps none.

        Raises:
            CharlmError: The logits are not finite, or an earlier call has failed.

        """
        chunk = ""
        # Values that are not finite raise a CharlmError.
        with ignore_overflow():
            for _ in range(count):
                number, index = next(self._ids, (0, 0))
                if not number:
                    raise CharlmError("text: generating it has failed; generate it again")
                if number == self._length:
                    self.stopped_by = "length"
                chunk += self._add(index)
                if self.stopped_by:
                    break
        return chunk

    def _add(self, index: int) -> str:
        """Return the text that is certain after the next id."""
        new = self._glyphs[index]
        if index == self._end_id:
            if self._ignore_end:
                new = BORDER
            else:
                self.stopped_by = "end of text"
        if not self._stops:
            return new
        for character in new:
            self._held += character
            for stop in self._stops:
                if self._held.endswith(stop):
                    self.stopped_by = "stop text"
                    return self._held.removesuffix(stop)
        tail = 0 if self.stopped_by else self._tail
        certain = self._held[: max(0, len(self._held) - tail)]
        self._held = self._held[len(certain) :]
        return certain

    def __str__(self) -> str:
        """Generate the rest of the text, and return the whole text.

        Raises:
            CharlmError: The text is endless, or generating it fails or has failed.

        """
        if self._length == 0:
            raise CharlmError(
                "length=0 generates without end: iterate over the text, or set a length"
            )
        if not self.stopped_by:
            self._chunks.append(self.read(self._length))
        return "".join(self._chunks)

    def __add__(self, end: str) -> str:
        return str(self) + end

    def __radd__(self, prompt: str) -> str:
        return prompt + str(self)


def generate_text(model: TrainedModel, request: TextRequest) -> GeneratedText:
    """Read the prompt, and return a text that is generated during iteration.

    The text ends after `length` ids, before a stop text, or when the model chooses the end-of-text
    id.
    """
    *_, state = read_prompt(model.parameters, encode_prompt(model, request.prompt))
    return continue_text(model, state, request)


def continue_text(model: TrainedModel, state: State, request: TextRequest) -> GeneratedText:
    """Return the text after a prompt that was read.

    Args:
        model: The model.
        state: The state after the prompt.
        request: The settings of the text; its prompt has no effect.

    """
    return GeneratedText(choose_ids(model, state, request), model.vocabulary, request)


def encode_prompt(model: TrainedModel, prompt: str) -> Integers:
    """Return the ids that the model reads before it generates text.

    Args:
        model: The model.
        prompt: The text to continue; see `Vocabulary.encode` for unknown characters.

    Returns:
        int64 [n], n >= 1.

    """
    ids = model.vocabulary.encode(prompt)
    return ids if len(ids) else model.start
