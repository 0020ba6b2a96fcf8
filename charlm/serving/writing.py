"""A request -> the pieces of its texts. All requests write in turn, a few characters each, so that none waits long."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats, State
from charlm.sampling.generation import choose_ids, empty_prompt, random_seed, read_prompt
from charlm.sampling.growing import GrowingText
from charlm.serving.requests import ChatRequest, CompletionRequest
from charlm.text.vocabulary import Vocabulary

TURN = 32
"""The characters that a text gets in a turn: about two milliseconds of a small network."""
END_OF_TEXT = "<|endoftext|>"
"""What an end-of-text id is called among the likeliest tokens; it has no text."""
UNKNOWN = "<|unknown|>"
"""What the unknown id is called there; U+FFFD may be a character of the text."""

T = TypeVar("T")


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that requests use."""

    name: str
    trained: TrainedModel
    created: int
    """When it was written, in seconds since 1970."""
    page: bytes
    """The page for writing with it, as `charlm export --format html` writes it."""


@dataclass(frozen=True)
class Token:
    """A character that was chosen, in the legacy form of log-probabilities."""

    text: str
    logprob: float
    """log p given the characters before it, by the model itself: before temperature and filters."""
    likeliest: dict[str, float]
    """log p of the likeliest tokens in its place, and of the token itself."""


@dataclass(frozen=True)
class Piece:
    """The next part of a text."""

    text: str
    tokens: tuple[Token, ...] = ()
    finish_reason: Literal["stop", "length"] | None = None


class AnswerText:
    """One text of an answer, written a piece at a time.

    Args:
        trained: The model.
        state: That after the prompt.
        wanted: The request.
        seed: Of the text.

    """

    def __init__(
        self, trained: TrainedModel, state: State, wanted: CompletionRequest | ChatRequest, *, seed: int
    ) -> None:
        self.chosen = 0
        """How many ids were chosen."""
        self._vocabulary, self._length, self._likeliest = trained.vocabulary, wanted.length, wanted.likeliest
        self._growing = GrowingText(trained.vocabulary, stops=wanted.stop)
        self._steps = choose_ids(trained, state, sampler=wanted.sampler, seed=seed, length=wanted.length)
        self._tokens: list[Token] = []

    def write(self) -> Piece:
        """Choose the characters of a turn, and return what has become certain.

        Raises:
            CharlmError: the logits are not finite.

        """
        text = ""
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
            for index, logits in islice(self._steps, TURN):
                self.chosen += 1
                if self._likeliest is not None:
                    self._tokens.append(_token(self._vocabulary, index, logits, self._likeliest))
                text += self._growing.read(index, is_last=self.chosen == self._length)
                if self._growing.stopped_by:
                    break
        tokens, self._tokens = self._tokens[: len(text)], self._tokens[len(text) :]
        reason = self._growing.stopped_by
        return Piece(text, tuple(tokens), reason and ("length" if reason == "length" else "stop"))


def _token(vocabulary: Vocabulary, index: int, logits: Floats, count: int) -> Token:
    wide = logits.astype(np.float64)
    wide -= wide.max()
    wide -= np.log(np.exp(wide).sum())
    likeliest = [*np.argsort(-wide, kind="stable")[:count].tolist(), index]
    named = {_token_text(vocabulary, each): float(wide[each]) for each in likeliest if wide[each] > -np.inf}
    return Token(_token_text(vocabulary, index), float(wide[index]), named if count else {})


def _token_text(vocabulary: Vocabulary, index: int) -> str:
    if index == vocabulary.end_of_text_id:
        return END_OF_TEXT
    return UNKNOWN if index == vocabulary.unknown_id else vocabulary.glyphs[index]


class Turns:
    """Gives one request after the other a turn, in a thread, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, work: Callable[[], T]) -> T:
        """Wait for the turn, do some work in it, and return its result."""
        async with self._lock:
            return await asyncio.to_thread(work)


class Answer:
    """The texts that answer a request: `n` of each prompt, one prompt after the other.

    Text k of a prompt is the text that `charlm sample` writes with the seed of the request plus k.

    Args:
        model: What writes.
        wanted: The request; without a seed it gets a random one.
        turns: Those of the server.

    """

    def __init__(self, model: ServedModel, wanted: CompletionRequest | ChatRequest, turns: Turns) -> None:
        self._trained, self._wanted, self._turns = model.trained, wanted, turns
        self._seed = random_seed() if wanted.seed is None else wanted.seed
        self._prompts = [model.trained.vocabulary.encode(prompt) for prompt in wanted.prompts]
        self._texts: list[AnswerText] = []

    @property
    def count(self) -> int:
        """The number of texts."""
        return self._wanted.n * len(self._prompts)

    def usage(self) -> dict[str, int]:
        """Return the object `usage` of the answer by now: characters that were read and chosen."""
        read = sum(map(len, self._prompts))
        chosen = sum(text.chosen for text in self._texts)
        return {"prompt_tokens": read, "completion_tokens": chosen, "total_tokens": read + chosen}

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Yield the pieces of the texts as they become certain, each with the index of its text.

        Raises:
            CharlmError: the logits are not finite.

        """
        for ids in self._prompts:
            state = await self._read(ids)
            seeds = range(self._seed, self._seed + self._wanted.n)
            self._texts += [AnswerText(self._trained, state, self._wanted, seed=seed) for seed in seeds]
        unfinished = dict(enumerate(self._texts))
        while unfinished:
            for index, text in [*unfinished.items()]:
                piece = await self._turns.take(text.write)
                if piece.finish_reason:
                    del unfinished[index]
                if piece.text or piece.finish_reason:
                    yield index, piece

    async def _read(self, ids: NDArray[np.int64]) -> State:
        """Read a prompt in several turns; return the state after it."""
        ids = ids if len(ids) else empty_prompt(self._trained.vocabulary)
        blocks: Iterator[State] = read_prompt(self._trained.parameters, ids)
        state: State = ()
        while (after := await self._turns.take(partial(next, blocks, None))) is not None:
            state = after
        return state
