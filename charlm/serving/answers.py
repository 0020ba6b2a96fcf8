"""A request -> the pieces of its texts -> the objects of the OpenAI API.

All requests write in turn, a few characters each, so that none waits long.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np

from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats, State
from charlm.sampling.generation import GrowingText, choose_ids, encode_prompt, random_seed, read_prompt
from charlm.serving.requests import ChatRequest, CompletionRequest
from charlm.text.vocabulary import Vocabulary

TURN = 32
"""The characters that a text gets in a turn: about two milliseconds of a small network."""

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
    chosen: int = 0
    """How many ids were chosen for it: those held back and an end of the text included."""


def write_text(
    trained: TrainedModel, state: State, wanted: CompletionRequest | ChatRequest, *, seed: int
) -> Iterator[Piece]:
    """Choose the characters of a turn after each other, and yield what has become certain.

    Args:
        trained: The model.
        state: That after the prompt.
        wanted: The request.
        seed: Of the text.

    Raises:
        CharlmError: while iterating, the logits are not finite.

    """
    growing, tokens = GrowingText(trained.vocabulary, stops=wanted.stop), list[Token]()
    steps = choose_ids(trained, state, sampler=wanted.sampler, seed=seed, length=wanted.length)
    before = chosen = 0
    while not growing.stopped_by:
        text, before = "", chosen
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
            for chosen, (index, logits) in enumerate(islice(steps, TURN), before + 1):
                if wanted.logprobs is not None:
                    tokens.append(_token(trained.vocabulary, index, logits, wanted.logprobs))
                text += growing.read(index, is_last=chosen == wanted.length)
                if growing.stopped_by:
                    break
        reason = growing.stopped_by and ("length" if growing.stopped_by == "length" else "stop")
        yield Piece(text, tuple(tokens[: len(text)]), reason, chosen - before)
        tokens = tokens[len(text) :]


def _token(vocabulary: Vocabulary, index: int, logits: Floats, count: int) -> Token:
    wide = logits.astype(np.float64)
    wide -= wide.max()
    wide -= np.log(np.exp(wide).sum())
    likeliest = [*np.argsort(-wide, kind="stable")[:count].tolist(), index]
    named = {vocabulary.names[each]: float(wide[each]) for each in likeliest if wide[each] > -np.inf}
    return Token(vocabulary.names[index], float(wide[index]), named if count else {})


class Answer:
    """The texts that answer a request: `n` of each prompt, one prompt after the other.

    Text k of a prompt is the text that `charlm sample` writes with the seed of the request plus k.

    Args:
        model: What writes.
        wanted: The request; without a seed it gets a random one.
        turns: Held while a turn is taken; the same for all answers of a server.

    """

    def __init__(self, model: ServedModel, wanted: CompletionRequest | ChatRequest, turns: asyncio.Lock) -> None:
        self._trained, self._wanted, self._turns = model.trained, wanted, turns
        self.count = wanted.n * len(wanted.prompts)
        """The number of texts."""
        self._prompt_tokens = sum(len(model.trained.vocabulary.encode(prompt)) for prompt in wanted.prompts)
        self._chosen = 0
        self._is_chat, self._includes_usage = isinstance(wanted, ChatRequest), wanted.stream_options.include_usage
        self._head = {
            "id": f"{'chatcmpl' if self._is_chat else 'cmpl'}-{secrets.token_hex(12)}",
            "object": "chat.completion" if self._is_chat else "text_completion",
            "created": int(time.time()),
            "model": model.name,
        }

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Yield the pieces of the texts as they become certain, each with the index of its text.

        Raises:
            CharlmError: the logits are not finite.

        """
        texts: list[Iterator[Piece]] = []
        first = random_seed() if self._wanted.seed is None else self._wanted.seed
        for prompt in self._wanted.prompts:
            state = await self._read(prompt)
            seeds = range(first, first + self._wanted.n)
            texts += [write_text(self._trained, state, self._wanted, seed=seed) for seed in seeds]
        unfinished = dict(enumerate(texts))
        while unfinished:
            for index, text in [*unfinished.items()]:
                piece = await self._take_turn(partial(next, text))
                self._chosen += piece.chosen
                if piece.finish_reason:
                    del unfinished[index]
                if piece.text or piece.finish_reason:
                    yield index, piece

    async def _read(self, prompt: str) -> State:
        """Read a prompt in several turns; return the state after it."""
        state: State = ()
        blocks = read_prompt(self._trained.parameters, encode_prompt(self._trained.vocabulary, prompt))
        while (after := await self._take_turn(partial(next, blocks, None))) is not None:
            state = after
        return state

    async def _take_turn(self, work: Callable[[], T]) -> T:
        """Do some work in a thread, after those who came before, and return its result."""
        async with self._turns:
            return await asyncio.to_thread(work)

    def usage(self) -> dict[str, int]:
        """Return the object `usage` of the answer by now: characters that were read and chosen."""
        read, chosen = self._prompt_tokens, self._chosen
        return {"prompt_tokens": read, "completion_tokens": chosen, "total_tokens": read + chosen}

    def whole(self, texts: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        """Return the answer that holds the pieces of all texts."""
        choices = []
        for index, pieces in enumerate(texts):
            tokens = tuple(token for piece in pieces for token in piece.tokens)
            joined = Piece("".join(piece.text for piece in pieces), tokens, pieces[-1].finish_reason)
            message = {"message": {"role": "assistant", "content": joined.text, "refusal": None}}
            choices.append(self._choice(index, joined, message))
        return {**self._head, "choices": choices, "usage": self.usage()}

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the server-sent events of a streamed answer, [DONE] the last; errors as `pieces`."""
        if self._is_chat:
            for index in range(self.count):
                yield self._event(index, Piece(""), {"role": "assistant", "content": ""})
        async for index, piece in self.pieces():
            yield self._event(index, piece, {"content": piece.text} if piece.text else {})
        if self._includes_usage:
            yield _to_event({**self._event_head(), "choices": [], "usage": self.usage()})
        yield b"data: [DONE]\n\n"

    def _event(self, index: int, piece: Piece, delta: Mapping[str, str]) -> bytes:
        usage = {"usage": None} if self._includes_usage else {}
        return _to_event({**self._event_head(), "choices": [self._choice(index, piece, {"delta": delta})], **usage})

    def _event_head(self) -> dict[str, Any]:
        return self._head | ({"object": "chat.completion.chunk"} if self._is_chat else {})

    def _choice(self, index: int, piece: Piece, in_chat: Mapping[str, Any]) -> dict[str, Any]:
        """Return a text as answers have it: in a completion by itself, in a chat as `in_chat`."""
        logprobs = None
        if self._wanted.logprobs is not None:
            logprobs = {
                "tokens": [token.text for token in piece.tokens],
                "token_logprobs": [token.logprob for token in piece.tokens],
                "top_logprobs": [token.likeliest or None for token in piece.tokens],
            }
        content = in_chat if self._is_chat else {"text": piece.text}
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": piece.finish_reason}


def _to_event(content: Mapping[str, Any]) -> bytes:
    """Return a server-sent event with a JSON object."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"
