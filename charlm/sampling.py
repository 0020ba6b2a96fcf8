"""A prompt -> text, one character at a time.

`generate` works on ids, `generate_text` on text: it knows about prompts, stop texts and the ends of texts.
What is drawn from a distribution, and how, is in `charlm.choice`.

Axes: B batch (the samples), V vocabulary.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.bundle import Bundle
from charlm.choice import Choice, choose, chooser, probabilities
from charlm.errors import CharlmError
from charlm.rnn import Floats, Parameters, State, unroll, zero_state
from charlm.stepper import Stepper
from charlm.vocabulary import Vocabulary

__all__ = [
    "Choice",
    "Generation",
    "Sample",
    "choose",
    "generate",
    "generate_text",
    "probabilities",
    "read_prompt",
]

PROMPT_BLOCK = 1024  # ids read at once: bounds the memory a long prompt takes
DRAWS = 256  # random numbers drawn at once
BORDER = "\n\n"  # what the end of a text reads as where it does not end a sample
StoppedBy = Literal["length", "stop text", "end of text"]


def read_prompt(parameters: Parameters, ids: NDArray[Any], batch: int = 1) -> tuple[Floats, State]:
    """Read a prompt from the zero state: ids [n], n >= 1 -> logits [batch, V] and state after its last id.

    Every row is the same. Raises CharlmError if there are no ids.
    """
    if len(ids) == 0:
        raise CharlmError("the prompt is empty: at least one character is needed to predict the next")
    state = zero_state(parameters, 1)
    for start in range(0, len(ids), PROMPT_BLOCK):
        logits, state = unroll(parameters, np.asarray(ids)[start : start + PROMPT_BLOCK, None], state)
    return np.repeat(logits[-1], batch, axis=0), tuple(np.repeat(output, batch, axis=0) for output in state)


def generate(
    parameters: Parameters,
    prompt_ids: NDArray[Any],
    *,
    choice: Choice,
    length: int | None,
    seed: int,
    samples: int = 1,
    forbidden: Iterable[int] = (),
) -> Iterator[NDArray[np.int64]]:
    """Yield the ids that go on from a prompt, int64 [samples] at each step, `length` times (None: for ever).

    `forbidden` ids are never chosen. Sample k draws from a random stream of its own, made of the seed and k,
    so that it does not depend on how many samples there are. That holds to the rounding of float32: the
    products of a batch and of a single stream may differ in the last bit, which can turn a choice. Raises
    CharlmError at once if the prompt is empty, a number is out of range or every id is forbidden; later, if
    the logits are no longer finite.
    """
    if seed < 0:
        raise CharlmError(f"--seed {seed}: should be 0 or more")
    if samples < 1:
        raise CharlmError(f"--samples {samples}: should be 1 or more")
    forbidden = set(forbidden)
    if len(forbidden) == parameters.vocabulary_size:
        raise CharlmError("there is no character to choose: the vocabulary has none but reserved ids")
    _, state = read_prompt(parameters, prompt_ids, samples)
    stepper = Stepper(parameters, state, forbidden=forbidden)
    return _generate(stepper, choice, islice(_uniforms(seed, samples), length), is_single=samples == 1)


def _generate(
    stepper: Stepper, choice: Choice, uniforms: Iterator[Any], *, is_single: bool
) -> Iterator[NDArray[np.int64]]:
    pick, advance = chooser(choice), stepper.advance
    for uniform in uniforms:
        ids = pick(stepper.logits, uniform)
        yield np.array([ids]) if is_single else ids
        advance(ids)


def _uniforms(seed: int, samples: int) -> Iterator[Any]:
    """Yield numbers in [0, 1) without end: float64 [samples], or a float for a single sample."""
    streams = [np.random.default_rng([seed, index]) for index in range(samples)]
    while True:
        draws = np.stack([stream.random(DRAWS) for stream in streams], axis=1)
        yield from draws[:, 0].tolist() if samples == 1 else draws


@dataclass(frozen=True)
class Sample:
    """A text that was generated, without its prompt."""

    text: str
    """Empty if the text was not to be kept."""
    characters: int
    """The length of the text, in characters at either level."""
    stopped_by: StoppedBy | None
    """None while it could go on."""


class Generation:
    """Samples in the making: iterate over it, for the pieces by which they grow.

    Each step gives a list with the new text of every sample. It is "" while bytes, or what may begin the stop
    text, are held back, and once the sample has ended. The iteration ends with the last sample.
    """

    def __init__(self, ids: Iterator[NDArray[np.int64]], growing: list["_Growing"], length: int) -> None:
        self._ids, self._growing, self._length = ids, growing, length

    def __iter__(self) -> Iterator[list[str]]:
        for step, ids in enumerate(self._ids, start=1):
            is_last = step == self._length
            yield [
                growing.add(index, is_last=is_last)
                for growing, index in zip(self._growing, ids.tolist(), strict=True)
            ]
            if all(growing.stopped_by for growing in self._growing):
                return

    @property
    def samples(self) -> list[Sample]:
        """The samples as far as they have come."""
        return [Sample("".join(g.pieces), g.characters, g.stopped_by) for g in self._growing]


def generate_text(
    bundle: Bundle,
    *,
    prompt: str = "",
    length: int,
    choice: Choice,
    seed: int,
    samples: int = 1,
    stop: str | None = None,
    ignore_end: bool = False,
    unknown: Literal["error", "skip"] = "error",
    keep_text: bool = True,
) -> Generation:
    """Return the texts that go on from a prompt, as they come.

    `length` counts the ids chosen: characters, or bytes at level byte; 0 goes on without end. A sample ends
    just before the `stop` text, where that comes up in it, and where the model ends the text; with
    `ignore_end` that reads as a blank line, and the sample goes on. Nothing begins with an empty prompt: the
    model then reads the id for the end of a text, else a line break, else the first id, which is not part of
    the text. The unknown id is never chosen. `keep_text` false leaves `Sample.text` empty, so that an
    endless text takes no memory.

    Raises CharlmError for a character of the prompt that the model does not know (`unknown` "skip" leaves it
    out), and for a number out of range.
    """
    if length < 0:
        raise CharlmError(f"--length {length}: should be 0 (endless) or more")
    vocabulary = bundle.vocabulary
    ids = generate(
        bundle.parameters,
        _prompt_ids(vocabulary, prompt, unknown),
        choice=choice,
        length=length or None,
        seed=seed,
        samples=samples,
        forbidden=set() if vocabulary.unknown_id is None else {vocabulary.unknown_id},
    )
    growing = [_Growing(vocabulary, stop or "", ignore_end, keep_text) for _ in range(samples)]
    return Generation(ids, growing, length)


def _prompt_ids(vocabulary: Vocabulary, prompt: str, unknown: Literal["error", "skip"]) -> NDArray[np.int64]:
    ids = vocabulary.encode(prompt, unknown=unknown)
    if len(ids):
        return ids
    if vocabulary.end_of_text_id is not None:
        return np.array([vocabulary.end_of_text_id])
    return np.maximum(vocabulary.look_up("\n"), 0)


class _Growing:
    """A sample that grows by one id at a time."""

    def __init__(self, vocabulary: Vocabulary, stop: str, ignore_end: bool, keep_text: bool) -> None:
        self._glyphs = vocabulary.glyphs if vocabulary.level == "char" else None
        self._decoder = vocabulary.decoder()
        self._end_id = vocabulary.end_of_text_id
        self._stop, self._ignore_end, self._keep_text = stop, ignore_end, keep_text
        self._held = ""  # the end of the text so far, as much of it as could begin the stop text
        self.pieces: list[str] = []
        self.characters = 0
        self.stopped_by: StoppedBy | None = None

    def add(self, index: int, *, is_last: bool) -> str:
        """Return the text that is certain after one more id; `is_last` ends the sample, whatever it says."""
        if self.stopped_by:
            return ""
        is_end = index == self._end_id
        if is_last:
            self.stopped_by = "length"
        if is_end and not self._ignore_end:
            self.stopped_by = "end of text"
        piece = self._read(index, final=is_last or is_end)
        if is_end and self._ignore_end:
            piece += BORDER
        if self._stop:
            piece = self._until_stop(piece)
        self.characters += len(piece)
        if self._keep_text:
            self.pieces.append(piece)
        return piece

    def _read(self, index: int, *, final: bool) -> str:
        if self._glyphs is not None:
            return self._glyphs[index]  # a third of the time that the decoder takes
        return self._decoder.decode(np.array([index]), final=final)

    def _until_stop(self, piece: str) -> str:
        text = self._held + piece
        if self._stop[0] not in text:
            self._held = ""
            return text
        before, found, _ = text.partition(self._stop)
        if found:
            self.stopped_by = "stop text"
            return before
        sizes = range(min(len(text), len(self._stop) - 1), 0, -1)
        held = 0 if self.stopped_by else next((n for n in sizes if text.endswith(self._stop[:n])), 0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]
