"""A prompt -> text, one character at a time.

`choose_ids` is the loop of every text, on ids; `generate_text` adds prompts, stop texts and the end of a text to it.
Several texts are several of them, each with the random numbers of its own seed.

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

from charlm.checks import check_whole
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel
from charlm.network.reading import Stepper
from charlm.network.rnn import Floats, Parameters, State, read_outputs
from charlm.sampling.sampler import Sampler, make_chooser
from charlm.text.vocabulary import Vocabulary, normalize

PROMPT_BLOCK = 256
RANDOM_SEEDS = 2**32
"""A seed that is drawn is below this: short enough to be typed."""
DRAWS = 256  # random numbers drawn at once
BORDER = "\n\n"
"""The text of an end-of-text id that does not end the sample."""
StoppedBy = Literal["length", "stop text", "end of text"]


def read_prompt(parameters: Parameters, ids: NDArray[Any]) -> Iterator[State]:
    """Read a prompt block by block; the blocks are always the same, for the same bits.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 1.

    Yields:
        The state after each block, float32 [1, H] for each layer.

    """
    for outputs in read_prompt_outputs(parameters, ids):
        yield tuple(output[-1] for output in outputs)


def read_prompt_outputs(parameters: Parameters, ids: NDArray[Any]) -> Iterator[State]:
    """Read a prompt as `read_prompt` does; yield the outputs at every character of a block, float32 [t, 1, H]."""
    state = parameters.zero_state(1)
    for start in range(0, len(ids), PROMPT_BLOCK):
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # values that are not finite raise a CharlmError
            outputs = read_outputs(parameters, ids[start : start + PROMPT_BLOCK, None], state)
        state = tuple(output[-1] for output in outputs)
        yield outputs


def choose_ids(
    model: TrainedModel, state: State, *, sampler: Sampler, seed: int, length: int | None
) -> Iterator[tuple[int, Floats]]:
    """Choose one id after the other; the unknown id is never chosen.

    Args:
        model: The model.
        state: The state to begin at, float32 [1, H] for each layer.
        sampler: How each id is chosen.
        seed: Of the random numbers, 0 or more.
        length: The number of ids, 0 or more; None = without end.

    Yields:
        The next id, and the logits from which it was chosen, float32 [V], in a buffer that the next step overwrites.

    Raises:
        CharlmError: while iterating, the vocabulary has only the unknown id, or the logits are not finite.

    """
    stepper = Stepper(model.parameters, state, forbidden=_forbidden_ids(model.vocabulary))
    choose, advance = make_chooser(sampler), stepper.advance
    for uniform in islice(_uniforms(seed), length):
        logits = stepper.logits
        chosen = choose(logits, uniform)
        yield chosen, logits
        advance(chosen)


def random_seed() -> int:
    """Return a seed for a text that is asked for without one."""
    return secrets.randbelow(RANDOM_SEEDS)


def _uniforms(seed: int) -> Iterator[float]:
    """Yield random numbers in [0, 1) without end."""
    stream = np.random.default_rng([seed, 0])
    while True:
        yield from stream.random(DRAWS).tolist()


@dataclass(frozen=True)
class TextRequest:
    """A text that is wanted.

    Raises:
        CharlmError: a value is out of range; the message names the field.

    """

    length: int
    """The most characters to choose, 0 or more; 0 = without end."""
    sampler: Sampler
    """How each id is chosen."""
    seed: int
    """Of the random numbers, 0 or more."""
    prompt: str = ""
    """The text to continue; `encode_prompt` says what an empty one means."""
    stop: str = ""
    """The text before which the text ends; "" = none."""
    ignore_end: bool = False
    """Whether an end-of-text id becomes a blank line, instead of ending the text."""

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, least=0)
        check_whole("length", self.length, least=0, most=sys.maxsize)


@dataclass(frozen=True)
class Sample:
    """A generated text, without its prompt."""

    text: str
    stopped_by: StoppedBy | None
    """What ended the text; None as long as it can go on."""


class StopTexts:
    """Finds the first of some texts to be complete in a text that comes one character at a time.

    Each text keeps the number of its characters that the end of the text matches. After a mismatch it goes on with the
    longest shorter match, which is known in advance (Knuth, Morris and Pratt 1977): so a character takes the same time
    on average, however long the texts are.

    Args:
        stops: The texts, none of them empty; they are brought into the normal form NFC.

    Raises:
        CharlmError: too many combining marks follow each other.

    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [normalize(stop) for stop in stops]
        self._shorter = [_shorter_matches(stop) for stop in self._stops]
        self._matched = [0] * len(self._stops)

    def read(self, character: str) -> int:
        """Read the next character; return the length of the longest text that is complete now, or 0."""
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
        """The number of characters at the end of the text that may be the beginning of one of the texts."""
        return max(self._matched, default=0)


def _shorter_matches(stop: str) -> list[int]:
    """Return the length of the longest proper beginning of stop[: k + 1] that is also its end, for each k."""
    lengths = [0]
    for character in stop[1:]:
        length = lengths[-1]
        while length and stop[length] != character:
            length = lengths[length - 1]
        lengths.append(length + 1 if stop[length] == character else 0)
    return lengths


class GrowingText:
    """The text of ids as they are chosen.

    Characters that may be the beginning of a stop text are held back.

    Args:
        vocabulary: The characters by id.
        stops: The texts before the first of which the text ends, none of them empty.
        ignore_end: Whether an end-of-text id becomes a blank line, instead of ending the text.

    """

    def __init__(
        self, vocabulary: Vocabulary, *, stops: Sequence[str] = (), ignore_end: bool = False
    ) -> None:
        self.stopped_by: StoppedBy | None = None
        """What has ended the text; None as long as it can go on."""
        self._glyphs = vocabulary.glyphs
        self._ignore_end, self._end_id = ignore_end, vocabulary.end_of_text_id
        self._stops = StopTexts(stops) if stops else None
        self._held = ""

    def read(self, index: int, *, is_last: bool) -> str:
        """Return the text that has become certain by the next id.

        Args:
            index: The id.
            is_last: Whether the text ends with it.

        """
        if index == self._end_id and not self._ignore_end:
            self.stopped_by = "end of text"
        elif is_last:
            self.stopped_by = "length"
        new = self._glyphs[index] if index != self._end_id else BORDER if self._ignore_end else ""
        if self._stops is None:
            return new
        for character in new:
            self._held += character
            length = self._stops.read(character)
            if length:
                self.stopped_by = "stop text"
                return self._held[:-length]
        certain = len(self._held) - (0 if self.stopped_by else self._stops.begun)
        text, self._held = self._held[:certain], self._held[certain:]
        return text


class GeneratedText(Iterator[str]):
    """A text as it is generated: iterate over it for chunks as they come, or call `str` for the whole text.

    The prompt is not part of the text. A chunk has one character or more: characters are held back as long as they
    could be the beginning of the stop text.
    """

    def __init__(self, ids: Iterator[int], vocabulary: Vocabulary, wanted: TextRequest) -> None:
        self._ids, self._length, self._read = ids, wanted.length, 0
        stops = [wanted.stop] if wanted.stop else []
        self._growing, self._chunks = (
            GrowingText(vocabulary, stops=stops, ignore_end=wanted.ignore_end),
            list[str](),
        )

    def __next__(self) -> str:
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # values that are not finite raise a CharlmError
            while not self._growing.stopped_by and (index := next(self._ids, None)) is not None:
                self._read += 1
                if chunk := self._growing.read(index, is_last=self._read == self._length):
                    if self._length:  # an endless text takes no memory
                        self._chunks.append(chunk)
                    return chunk
        raise StopIteration

    def __str__(self) -> str:
        """Return the whole text, including the chunks that were iterated over before."""
        return self.finish().text

    def finish(self) -> Sample:
        """Generate the rest of the text, and return all of it.

        Raises:
            CharlmError: the text has no end.

        """
        if self._length == 0:
            raise CharlmError(
                "length=0 generates without end: iterate over the text, or give a length"
            )
        for _ in self:
            pass
        return Sample("".join(self._chunks), self.stopped_by)

    @property
    def stopped_by(self) -> StoppedBy | None:
        """What ended the text: its length, the stop text or the model; None as long as it can go on."""
        return self._growing.stopped_by


def generate_text(model: TrainedModel, wanted: TextRequest) -> GeneratedText:
    """Read the prompt, and generate a text chunk by chunk.

    It ends after `length` ids, just before the stop text, or when the model chooses the end-of-text id.

    Args:
        model: The model.
        wanted: The text.

    """
    *_, state = read_prompt(model.parameters, encode_prompt(model.vocabulary, wanted.prompt))
    steps = choose_ids(
        model, state, sampler=wanted.sampler, seed=wanted.seed, length=wanted.length or None
    )
    return GeneratedText((index for index, _ in steps), model.vocabulary, wanted)


def _forbidden_ids(vocabulary: Vocabulary) -> set[int]:
    """Return the ids that are never chosen: the unknown id, if there is one."""
    if vocabulary.unknown_id is None:
        return set()
    if len(vocabulary) == 1:
        raise CharlmError("no character to choose: the vocabulary has only the unknown id")
    return {vocabulary.unknown_id}


def encode_prompt(vocabulary: Vocabulary, prompt: str) -> NDArray[np.int64]:
    """Return the ids that the model reads before it generates, at least one.

    Args:
        vocabulary: The characters by id.
        prompt: The text to continue; characters that are not in the vocabulary are left out.

    Returns:
        int64 [n], n >= 1.

    """
    ids = vocabulary.encode(prompt)
    return ids if len(ids) else empty_prompt(vocabulary)


def empty_prompt(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return what stands for a prompt without ids, int64 [1]: the end-of-text id, else a line break, else id 0."""
    if vocabulary.end_of_text_id is not None:
        return np.array([vocabulary.end_of_text_id])
    return np.maximum(vocabulary.look_up("\n"), 0)
