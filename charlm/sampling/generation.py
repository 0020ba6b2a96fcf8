"""A prompt -> text, one character at a time: one text as it is written, or several side by side.

`generate` is the loop for one text, on ids; `generate_text` adds prompts, stop texts and the end of a text to it.
`generate_texts` writes several in a `charlm.sampling.batch`, which is faster, and in which no text depends on the
others. `charlm.sampling.sampler` chooses each id, `charlm.sampling.growing` makes text of them.

Axes: V vocabulary, H units.
"""

import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, Parameters, State, read_outputs
from charlm.network.stepper import Stepper
from charlm.sampling.batch import Batch, Job
from charlm.sampling.growing import GrowingText, Sample, StoppedBy
from charlm.sampling.sampler import Sampler, make_chooser, not_finite
from charlm.text.vocabulary import Vocabulary

PROMPT_BLOCK = 1024
DRAWS = 256  # random numbers drawn at once
SLOTS = 64
"""The most texts that `generate_texts` writes side by side; others wait."""


def read_prompt(parameters: Parameters, ids: NDArray[Any], state: State | None = None) -> State:
    """Read a prompt, or a part of one.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 1.
        state: The state to begin at, float32 [1, H] for each layer; None = zero.

    Returns:
        The state after the ids, float32 [1, H] for each layer.

    """
    now = parameters.zero_state(1) if state is None else state
    for start in range(0, len(ids), PROMPT_BLOCK):  # limits the memory that a long prompt takes
        now = tuple(output[-1] for output in read_outputs(parameters, ids[start : start + PROMPT_BLOCK, None], now))
    return now


def choose_ids(
    parameters: Parameters, state: State, *, sampler: Sampler, uniforms: Iterable[float], forbidden: Iterable[int] = ()
) -> Iterator[tuple[int, Floats]]:
    """Choose one id after the other: the loop of every text that is written alone.

    Args:
        parameters: The weights.
        state: The state to begin at, float32 [1, H] for each layer.
        sampler: How each id is chosen.
        uniforms: A random number in [0, 1) for each id.
        forbidden: Ids that are never chosen.

    Yields:
        The next id, and the logits from which it was chosen, float32 [V], in a buffer that the next step overwrites.

    Raises:
        CharlmError: while iterating, the logits are not finite.

    """
    stepper = Stepper(parameters, state, forbidden=forbidden)
    choose, advance = make_chooser(sampler), stepper.advance
    for uniform in uniforms:
        logits = stepper.logits
        chosen = choose(logits, uniform)
        yield chosen, logits
        advance(chosen)


def generate(
    parameters: Parameters,
    prompt_ids: NDArray[Any],
    *,
    sampler: Sampler,
    length: int | None,
    seed: int,
    forbidden: Collection[int] = (),
) -> Iterator[int]:
    """Generate the ids that follow a prompt.

    Args:
        parameters: The weights.
        prompt_ids: Integers [n], n >= 1.
        sampler: How each id is chosen.
        length: The number of ids, 0 or more; None = without end.
        seed: 0 or more. Sample 0 of `generate_texts` has the same random numbers.
        forbidden: Ids that are never chosen.

    Returns:
        An iterator over the ids.

    Raises:
        CharlmError: while iterating, the logits are not finite.

    """
    state = read_prompt(parameters, prompt_ids)
    uniforms = islice(_uniforms(seed), length)
    steps = choose_ids(parameters, state, sampler=sampler, uniforms=uniforms, forbidden=forbidden)
    return (chosen for chosen, _ in steps)


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
        if self.seed < 0:
            raise CharlmError(f"seed: found {self.seed}; must be 0 or more")
        if not 0 <= self.length <= sys.maxsize:
            raise CharlmError(f"length: found {self.length}; must be 0 (endless) to {sys.maxsize}")


class GeneratedText(Iterator[str]):
    """A text as it is generated: iterate over it for pieces as they come, or call `str` for the whole text.

    The prompt is not part of the text. A piece has one character or more: characters are held back as long as they
    could be the beginning of the stop text.
    """

    def __init__(self, ids: Iterator[int], vocabulary: Vocabulary, wanted: TextRequest) -> None:
        self._ids, self._length, self._read = ids, wanted.length, 0
        self._growing, self._pieces = _growing(wanted, vocabulary), list[str]()

    def __next__(self) -> str:
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
            while not self._growing.stopped_by and (index := next(self._ids, None)) is not None:
                self._read += 1
                if piece := self._growing.read([index], is_last=self._read == self._length):
                    if self._length:  # an endless text takes no memory
                        self._pieces.append(piece)
                    return piece
        raise StopIteration

    def __str__(self) -> str:
        """Return the whole text, including the pieces that were iterated over before."""
        return self.finish().text

    def finish(self) -> Sample:
        """Generate the rest of the text, and return all of it.

        Raises:
            CharlmError: the text has no end.

        """
        if self._length == 0:
            raise CharlmError("length=0 generates without end: iterate over the text, or give a length")
        for _ in self:
            pass
        return Sample("".join(self._pieces), self.stopped_by)

    @property
    def stopped_by(self) -> StoppedBy | None:
        """What ended the text: its length, the stop text or the model; None as long as it can go on."""
        return self._growing.stopped_by


def generate_text(bundle: Bundle, wanted: TextRequest) -> GeneratedText:
    """Generate a text piece by piece.

    It ends after `length` ids, just before the stop text, or when the model chooses the end-of-text id. The unknown id
    is never chosen.

    Args:
        bundle: The model.
        wanted: The text.

    Raises:
        CharlmError: the vocabulary has only reserved ids.

    """
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
        ids = generate(
            bundle.parameters,
            encode_prompt(bundle.vocabulary, wanted.prompt),
            sampler=wanted.sampler,
            length=wanted.length or None,
            seed=wanted.seed,
            forbidden=forbidden_ids(bundle.vocabulary),
        )
    return GeneratedText(ids, bundle.vocabulary, wanted)


def generate_texts(bundle: Bundle, wanted: TextRequest, *, samples: int) -> list[Sample]:
    """Generate several texts that follow a prompt, side by side.

    Sample k has its own random numbers, from (seed, k): it is the same to the bit for any number of samples. Sample 0
    is the text of `generate_text`, up to rounding: its products of matrices have other shapes.

    Args:
        bundle: The model.
        wanted: Each text; its length is 1 or more.
        samples: The number of texts, 1 or more.

    Raises:
        CharlmError: as `generate_text`, or the logits are not finite.

    """
    for name, value in (("samples", samples), ("length", wanted.length)):
        if value < 1:
            raise CharlmError(f"{name}: found {value}; must be 1 or more")
    vocabulary, parameters = bundle.vocabulary, bundle.parameters
    end_id = None if wanted.ignore_end else vocabulary.end_of_text_id
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
        state = read_prompt(parameters, encode_prompt(vocabulary, wanted.prompt))
        slots = min(samples, SLOTS)
        batch = Batch(parameters, slots=slots, forbidden=forbidden_ids(vocabulary), end_id=end_id)
        jobs = [Job(state, wanted.length, wanted.sampler, (wanted.seed, index)) for index in range(samples)]
        texts = {job: _growing(wanted, vocabulary) for job in jobs}
        pieces: dict[Job, list[str]] = {job: [] for job in jobs}
        waiting = deque(jobs)
        while waiting or len(batch):
            while waiting and not batch.is_full:
                batch.add(waiting.popleft())
            batch.step()
            for job, chunk in batch.take_reports():
                if chunk.reason == "not finite":
                    raise not_finite()
                pieces[job].append(texts[job].read(chunk.ids.tolist(), is_last=chunk.reason == "length"))
                if texts[job].stopped_by and chunk.reason is None:
                    batch.remove(job)
    return [Sample("".join(pieces[job]), texts[job].stopped_by) for job in jobs]


def _growing(wanted: TextRequest, vocabulary: Vocabulary) -> GrowingText:
    return GrowingText(vocabulary, stops=[wanted.stop] if wanted.stop else [], ignore_end=wanted.ignore_end)


def forbidden_ids(vocabulary: Vocabulary) -> set[int]:
    """Return the ids that are never chosen: the unknown id, if there is one.

    Raises:
        CharlmError: there is no other id.

    """
    if vocabulary.unknown_id is None:
        return set()
    if len(vocabulary) == 1:
        raise CharlmError("no character to choose: the vocabulary has only the unknown id")
    return {vocabulary.unknown_id}


def encode_prompt(vocabulary: Vocabulary, prompt: str) -> NDArray[np.int64]:
    """Return the ids that the model reads before it generates, at least one.

    If the prompt has no ids, they are the end-of-text id, else the id of a line break, else id 0.

    Args:
        vocabulary: The characters by id.
        prompt: The text to continue; characters that are not in the vocabulary are left out.

    Returns:
        int64 [n], n >= 1.

    """
    ids = vocabulary.encode(prompt)
    if len(ids):
        return ids
    if vocabulary.end_of_text_id is not None:
        return np.array([vocabulary.end_of_text_id])
    return np.maximum(vocabulary.look_up("\n"), 0)
