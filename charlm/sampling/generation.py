"""Generation of text from a prompt, one character at a time.

`choose_ids` is the loop that chooses ids; `generate_text` adds prompts, stop texts and the end of
the text. Several texts are generated one after the other, each with random numbers from its seed.

Axes: V vocabulary, H units.
"""

import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.checks import check_range
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel
from charlm.network.reading import Stepper
from charlm.network.rnn import Floats, Parameters, State, read_outputs
from charlm.sampling.sampler import Sampler, make_chooser
from charlm.text.vocabulary import Vocabulary, normalize

PROMPT_BLOCK = 256
"""Number of characters of a prompt that are read at a time."""
RANDOM_SEEDS = 2**32
"""Upper limit of random seeds, which must be short enough to type."""
DRAWS = 256
"""Number of random numbers that are drawn at a time."""
BORDER = "\n\n"
"""Text printed for an end-of-text id if the sample goes on after it."""
StoppedBy = Literal["length", "stop text", "end of text"]


def read_prompt(parameters: Parameters, ids: NDArray[Any]) -> Iterator[State]:
    """Read a prompt in blocks of a fixed length, so that its state is always the same, to the bit.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 1.

    Yields:
        The state after each block, float32 [1, H] for each layer.

    """
    for outputs in read_prompt_outputs(parameters, ids):
        yield tuple(output[-1] for output in outputs)


def read_prompt_outputs(parameters: Parameters, ids: NDArray[Any]) -> Iterator[State]:
    """Read a prompt in blocks of t characters; yield the layers' outputs, float32 [t, 1, H]."""
    state = parameters.zero_state(1)
    for start in range(0, len(ids), PROMPT_BLOCK):
        block = ids[start : start + PROMPT_BLOCK, None]
        # Values that are not finite raise a CharlmError later.
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = read_outputs(parameters, block, state)
        state = tuple(output[-1] for output in outputs)
        yield outputs


def choose_ids(
    model: TrainedModel, state: State, *, sampler: Sampler, seed: int, length: int | None
) -> Iterator[tuple[int, Floats]]:
    """Choose ids one after the other, except the unknown id.

    Args:
        model: The model.
        state: The state before the first id, float32 [1, H] for each layer.
        sampler: The settings of the choice.
        seed: Seed of the random numbers, 0 or more.
        length: Number of ids, 0 or more; None = endless.

    Yields:
        The next id, and its logits, float32 [V], in a buffer that the next step overwrites.

    Raises:
        CharlmError: While iterating if the vocabulary has only the unknown id, or the logits are
            not finite.

    """
    stepper = Stepper(model.parameters, state, forbidden=_forbidden_ids(model.vocabulary))
    choose = make_chooser(sampler)
    advance = stepper.advance
    for uniform in islice(_uniforms(seed), length):
        logits = stepper.logits
        chosen = choose(logits, uniform)
        yield chosen, logits
        advance(chosen)


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
    """Maximum number of characters, 0 or more; 0 = endless."""
    sampler: Sampler
    """The settings of the choice of each id."""
    seed: int
    """Seed of the random numbers, 0 or more."""
    prompt: str = ""
    """The text to continue; see `encode_prompt` for an empty prompt."""
    stop: str = ""
    """Stop text: the text ends before its first occurrence; "" = none."""
    ignore_end: bool = False
    """Whether an end-of-text id becomes a blank line instead of ending the text."""

    def __post_init__(self) -> None:
        check_range("seed", self.seed, 0)
        check_range("length", self.length, 0, sys.maxsize)


@dataclass(frozen=True)
class Sample:
    """A generated text, without its prompt."""

    text: str
    stopped_by: StoppedBy | None
    """The reason why the text ended; None while it can continue."""


class StopTexts:
    """A search for stop texts in a text that arrives one character at a time.

    For each stop text, the search keeps the number of characters that match the end of the text.
    After a mismatch it continues with the longest shorter match, from a table (Knuth, Morris and
    Pratt 1977), so the average time for a character does not depend on the lengths of the stop
    texts.

    Args:
        stops: One or more stop texts, none of them empty; they are normalized to NFC.

    Raises:
        CharlmError: Too many combining marks follow each other.

    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [normalize(stop) for stop in stops]
        self._shorter = [_shorter_matches(stop) for stop in self._stops]
        self._matched = [0] * len(self._stops)

    def read(self, character: str) -> int:
        """Read a character; return the length of the longest stop text that ends here, or 0."""
        complete = 0
        for number, stop in enumerate(self._stops):
            matched = self._matched[number]
            while matched and (matched == len(stop) or stop[matched] != character):
                matched = self._shorter[number][matched - 1]
            if stop[matched] == character:
                matched += 1
            self._matched[number] = matched
            if matched == len(stop):
                complete = max(complete, matched)
        return complete

    @property
    def begun(self) -> int:
        """Number of characters at the end of the text that may begin a stop text."""
        return max(self._matched)


def _shorter_matches(stop: str) -> list[int]:
    """Return, for each k, the length of the longest proper prefix and suffix of stop[: k + 1]."""
    lengths = [0]
    for character in stop[1:]:
        length = lengths[-1]
        while length and stop[length] != character:
            length = lengths[length - 1]
        lengths.append(length + 1 if stop[length] == character else 0)
    return lengths


class GrowingText:
    """A text that grows as ids are chosen; characters that may begin a stop text are held back.

    Args:
        vocabulary: The characters by id.
        stops: Stop texts, none of them empty; the text ends before the first stop text.
        ignore_end: Whether an end-of-text id becomes a blank line instead of ending the text.

    """

    def __init__(
        self, vocabulary: Vocabulary, *, stops: Sequence[str] = (), ignore_end: bool = False
    ) -> None:
        self.stopped_by: StoppedBy | None = None
        """The reason why the text ended; None while it can continue."""
        self._glyphs = vocabulary.glyphs
        self._end_id = vocabulary.end_of_text_id
        self._ignore_end = ignore_end
        self._stops = StopTexts(stops) if stops else None
        self._held = ""

    def read(self, index: int, *, is_last: bool) -> str:
        """Return the text that is certain after the next id.

        Args:
            index: The id.
            is_last: Whether the text ends with this id.

        """
        if is_last:
            self.stopped_by = "length"
        if index != self._end_id:
            new = self._glyphs[index]
        elif self._ignore_end:
            new = BORDER
        else:
            new = ""
            self.stopped_by = "end of text"
        if self._stops is None:
            return new
        for character in new:
            self._held += character
            length = self._stops.read(character)
            if length:
                self.stopped_by = "stop text"
                return self._held[:-length]
        held = 0 if self.stopped_by else self._stops.begun
        end = len(self._held) - held
        text = self._held[:end]
        self._held = self._held[end:]
        return text


class GeneratedText(Iterator[str]):
    """A text during generation: iterate over its chunks, or call `str` for the whole text.

    The text does not include the prompt. A chunk has one or more characters; characters that may
    begin the stop text are held back.
    """

    def __init__(self, ids: Iterator[int], vocabulary: Vocabulary, request: TextRequest) -> None:
        self._ids = enumerate(ids, start=1)
        self._length = request.length
        stops = [request.stop] if request.stop else []
        self._growing = GrowingText(vocabulary, stops=stops, ignore_end=request.ignore_end)
        self._chunks: list[str] = []

    def __next__(self) -> str:
        if self.stopped_by:
            raise StopIteration
        # Values that are not finite raise a CharlmError.
        with np.errstate(over="ignore", invalid="ignore"):
            for count, index in self._ids:
                chunk = self._growing.read(index, is_last=count == self._length)
                if chunk:
                    if self._length:  # an endless text is not kept in memory
                        self._chunks.append(chunk)
                    return chunk
                if self.stopped_by:
                    break
        raise StopIteration

    def __str__(self) -> str:
        """Return the whole text, including the chunks of earlier iterations."""
        return self.finish().text

    def finish(self) -> Sample:
        """Generate the rest of the text, and return the whole text.

        Raises:
            CharlmError: The text is endless.

        """
        if self._length == 0:
            raise CharlmError(
                "length=0 generates without end: iterate over the text, or set a length"
            )
        for _ in self:
            pass
        return Sample("".join(self._chunks), self.stopped_by)

    @property
    def stopped_by(self) -> StoppedBy | None:
        """The reason why the text ended; None while it can continue."""
        return self._growing.stopped_by


def generate_text(model: TrainedModel, request: TextRequest) -> GeneratedText:
    """Read the prompt, and return a text that is generated during iteration.

    The text ends after `length` ids, before the stop text, or when the model chooses the
    end-of-text id.
    """
    *_, state = read_prompt(model.parameters, encode_prompt(model.vocabulary, request.prompt))
    steps = choose_ids(
        model, state, sampler=request.sampler, seed=request.seed, length=request.length or None
    )
    return GeneratedText((index for index, _ in steps), model.vocabulary, request)


def _forbidden_ids(vocabulary: Vocabulary) -> set[int]:
    """Return the ids that must not be chosen: the unknown id, if there is one."""
    if vocabulary.unknown_id is None:
        return set()
    if len(vocabulary) == 1:
        raise CharlmError("no character to choose: the vocabulary has only the unknown id")
    return {vocabulary.unknown_id}


def encode_prompt(vocabulary: Vocabulary, prompt: str) -> NDArray[np.int64]:
    """Return the ids that the model reads before it generates text.

    Args:
        vocabulary: The characters by id.
        prompt: The text to continue; characters that are not in the vocabulary are dropped.

    Returns:
        int64 [n], n >= 1.

    """
    ids = vocabulary.encode(prompt)
    return ids if len(ids) else empty_prompt(vocabulary)


def empty_prompt(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the ids of an empty prompt, int64 [1]: end of text, else a line break, else id 0."""
    if vocabulary.end_of_text_id is not None:
        return np.array([vocabulary.end_of_text_id])
    return np.maximum(vocabulary.look_up("\n"), 0)
