"""A prompt -> text, one character at a time.

`generate` works on ids; `generate_text` works on text and handles prompts, stop texts and the end of a text.
`charlm.sampling.sampler` chooses each id.

Axes: B batch (the samples), V vocabulary, H units.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.network.ensemble import EnsembleStepper, Network, make_stepper
from charlm.network.rnn import Floats, State
from charlm.network.stepper import Stepper
from charlm.sampling.sampler import Sampler, make_chooser
from charlm.text.vocabulary import Unknown, Vocabulary

PROMPT_BLOCK = 1024
DRAWS = 256  # random numbers drawn at once
BORDER = "\n\n"  # the text of an end-of-text id that does not end the sample
StoppedBy = Literal["length", "stop text", "end of text"]


def read_prompt(
    network: Network, ids: NDArray[Any], *, batch: int = 1, block: int = PROMPT_BLOCK
) -> tuple[Floats, State]:
    """Read a prompt from the zero state.

    Args:
        network: The weights of a network, or an ensemble.
        ids: Integers [n], n >= 1.
        batch: B, the number of identical rows in the results.
        block: How many ids to read at once, 1 or more; it limits the memory that a long prompt takes.

    Returns:
        The logits of the next character, float32 [B, V], and the state after the prompt, float32 [B, H] for each layer.

    Raises:
        CharlmError: there are no ids.

    """
    if len(ids) == 0:
        raise CharlmError("the prompt is empty: at least one character is needed to predict the next")
    state = network.zero_state(1)
    for start in range(0, len(ids), block):
        logits, state = network.unroll(np.asarray(ids)[start : start + block, None], state)
    return np.repeat(logits[-1], batch, axis=0), tuple(np.repeat(output, batch, axis=0) for output in state)


def generate(
    network: Network,
    prompt_ids: NDArray[Any],
    *,
    sampler: Sampler,
    length: int | None,
    seed: int,
    samples: int = 1,
    forbidden: Iterable[int] = (),
) -> Iterator[NDArray[np.int64]]:
    """Generate the ids that follow a prompt.

    Sample k uses its own random stream, seeded with (seed, k), so that it does not depend on the number of samples.
    This holds up to rounding: the products of a batch and of a single stream may differ in the last bit of a float32,
    which can change a choice.

    Args:
        network: The weights of a network, or an ensemble.
        prompt_ids: Integers [n], n >= 1.
        sampler: How each id is chosen.
        length: The number of ids in each sample, 0 or more; None = without end.
        seed: 0 or more.
        samples: B, the number of samples, 1 or more.
        forbidden: Ids that are never chosen.

    Yields:
        The next id of each sample, int64 [B].

    Raises:
        CharlmError: at once, the prompt is empty, a number is out of range, or every id is forbidden; while iterating,
            the logits are not finite.

    """
    if seed < 0:
        raise CharlmError(f"--seed {seed}: must be 0 or more")
    if samples < 1:
        raise CharlmError(f"--samples {samples}: must be 1 or more")
    forbidden = set(forbidden)
    if len(forbidden) == network.vocabulary_size:
        raise CharlmError("no character to choose: the vocabulary has only reserved ids")
    _, state = read_prompt(network, prompt_ids, batch=samples)
    stepper = make_stepper(network, state, forbidden=forbidden)
    return _generate(stepper, sampler, islice(_uniforms(seed, samples), length), is_single=samples == 1)


def _generate(
    stepper: Stepper | EnsembleStepper, sampler: Sampler, uniforms: Iterator[Any], *, is_single: bool
) -> Iterator[NDArray[np.int64]]:
    pick, advance = make_chooser(sampler), stepper.advance
    for uniform in uniforms:
        ids = pick(stepper.logits, uniform)
        yield np.array([ids]) if is_single else ids
        advance(ids)


def _uniforms(seed: int, samples: int) -> Iterator[Any]:
    """Yield random numbers in [0, 1) without end: float64 [B], or a float if there is one sample."""
    streams = [np.random.default_rng([seed, index]) for index in range(samples)]
    while True:
        draws = np.stack([stream.random(DRAWS) for stream in streams], axis=1)
        yield from draws[:, 0].tolist() if samples == 1 else draws


@dataclass(frozen=True)
class Sample:
    """A generated text, without its prompt."""

    text: str
    """Empty if the text was not kept. At level byte, bytes that are not UTF-8 are U+FFFD."""
    characters: int
    """The length of the text, in characters at either level."""
    stopped_by: StoppedBy | None
    """What ended the text; None as long as it can go on."""
    data: bytes = b""
    """The text in UTF-8; at level byte, the bytes that the model chose. Empty if the text was not kept."""


class Generation:
    """Samples as they are generated: iterate over it for their new pieces.

    A step yields a list with the new text of each sample. It is "" while bytes or a possible beginning of the stop text
    are held back, and after the sample has ended. The iteration ends when the last sample does.

    Args:
        ids: Yields the next id of each sample, integers [B].
        vocabulary: The characters by id.
        samples: B, the number of samples.
        length: The number of ids after which a sample ends; 0 = none.
        stop: The text before which a sample ends; "" = none.
        ignore_end: Whether an end-of-text id becomes a blank line, instead of ending the sample.
        keep_text: Whether `samples` has the texts; without them, an endless text takes no memory.

    """

    def __init__(
        self,
        ids: Iterator[NDArray[np.int64]],
        vocabulary: Vocabulary,
        *,
        samples: int,
        length: int,
        stop: str = "",
        ignore_end: bool = False,
        keep_text: bool = True,
    ) -> None:
        self._ids, self._length, self._level = ids, length, vocabulary.level
        self._growing = [
            _GrowingSample(vocabulary, stop=stop, ignore_end=ignore_end, keep_text=keep_text) for _ in range(samples)
        ]

    def __iter__(self) -> Iterator[list[str]]:
        pieces = self._escaped()
        return pieces if self._level == "char" else ([_readable(piece) for piece in step] for step in pieces)

    def as_bytes(self) -> Iterator[list[bytes]]:
        """Yield the same pieces in UTF-8; at level byte, the bytes that the model chose."""
        return ([_to_bytes(piece) for piece in step] for step in self._escaped())

    def _escaped(self) -> Iterator[list[str]]:
        """Yield the pieces, with surrogates in place of bytes that are not UTF-8, as surrogateescape has them."""
        for step, ids in enumerate(self._ids, start=1):
            is_last = step == self._length
            yield [
                growing.add(index, is_last=is_last) for growing, index in zip(self._growing, ids.tolist(), strict=True)
            ]
            if all(growing.stopped_by for growing in self._growing):
                return

    @property
    def samples(self) -> list[Sample]:
        """The samples as far as they have been generated."""
        return [g.sample for g in self._growing]


def generate_text(
    bundle: Bundle,
    *,
    network: Network | None = None,
    prompt: str = "",
    length: int,
    sampler: Sampler,
    seed: int,
    samples: int = 1,
    stop: str | None = None,
    ignore_end: bool = False,
    unknown: Unknown = "error",
    keep_text: bool = True,
) -> Generation:
    """Generate texts that follow a prompt.

    A sample ends after `length` ids, just before the stop text, or when the model chooses the end-of-text id. The
    unknown id is never chosen.

    Args:
        bundle: The model.
        network: What predicts the characters, for instance an ensemble; None = the weights of the bundle.
        prompt: The text to continue; `encode_prompt` says what an empty one means.
        length: The number of ids to choose, 0 or more: characters, or bytes at level byte; 0 = without end.
        sampler: How each id is chosen.
        seed: 0 or more; sample k depends on the seed and k, not on the number of samples.
        samples: The number of texts, 1 or more.
        stop: The text before which a sample ends; None or "" = none.
        ignore_end: Whether an end-of-text id becomes a blank line, instead of ending the sample.
        unknown: What to do with a character of the prompt that the model does not know: error, or skip it.
        keep_text: Whether `Generation.samples` has the texts; without them, an endless text takes no memory.

    Returns:
        The texts as they are generated.

    Raises:
        CharlmError: a number is out of range, the model does not know a character of the prompt and `unknown` is error,
            or the vocabulary has only reserved ids.

    """
    if length < 0:
        raise CharlmError(f"--length {length}: must be 0 (endless) or more")
    vocabulary = bundle.vocabulary
    ids = generate(
        network or bundle.parameters,
        encode_prompt(vocabulary, prompt, unknown=unknown),
        sampler=sampler,
        length=length or None,
        seed=seed,
        samples=samples,
        forbidden=set() if vocabulary.unknown_id is None else {vocabulary.unknown_id},
    )
    return Generation(
        ids,
        vocabulary,
        samples=samples,
        length=length,
        stop=stop or "",
        ignore_end=ignore_end,
        keep_text=keep_text,
    )


def encode_prompt(vocabulary: Vocabulary, prompt: str, *, unknown: Unknown = "error") -> NDArray[np.int64]:
    """Return the ids that the model reads before it generates, at least one.

    If the prompt has no ids, they are the end-of-text id, else the id of a line break, else id 0.

    Args:
        vocabulary: The characters by id.
        prompt: The text to continue.
        unknown: What to do with a character that is not in the vocabulary: error, or skip it.

    Returns:
        int64 [n], n >= 1.

    Raises:
        CharlmError: a character is not in the vocabulary, and `unknown` is error.

    """
    ids = vocabulary.encode(prompt, unknown=unknown)
    if len(ids):
        return ids
    if vocabulary.end_of_text_id is not None:
        return np.array([vocabulary.end_of_text_id])
    return np.maximum(vocabulary.look_up("\n"), 0)


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _readable(text: str) -> str:
    """Return a text with U+FFFD in place of the surrogates that stand for bytes that are not UTF-8."""
    return text if text.isascii() else _to_bytes(text).decode("utf-8", "replace")


class _GrowingSample:
    """A sample that grows by one id at a time."""

    def __init__(self, vocabulary: Vocabulary, *, stop: str, ignore_end: bool, keep_text: bool) -> None:
        self._glyphs = vocabulary.glyphs if vocabulary.level == "char" else None
        self._decoder = vocabulary.decoder(errors="surrogateescape")  # keeps the bytes, and lets a stop text match them
        self._end_id = vocabulary.end_of_text_id
        self._stop, self._ignore_end, self._keep_text = stop, ignore_end, keep_text
        self._held = ""  # the end of the text so far that may be the beginning of the stop text
        self._pieces: list[str] = []
        self._characters = 0
        self.stopped_by: StoppedBy | None = None

    @property
    def sample(self) -> Sample:
        """The sample as far as it has been generated."""
        text = "".join(self._pieces)
        return Sample(_readable(text), self._characters, self.stopped_by, _to_bytes(text))

    def add(self, index: int, *, is_last: bool) -> str:
        """Return the text that is certain after one more id; `is_last` ends the sample."""
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
        self._characters += len(piece if self._glyphs is not None else _readable(piece))
        if self._keep_text:
            self._pieces.append(piece)
        return piece

    def _read(self, index: int, *, final: bool) -> str:
        if self._glyphs is not None:
            return self._glyphs[index]  # takes a third of the decoder's time
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
