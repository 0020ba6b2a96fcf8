"""A request -> the pieces of its texts -> the objects of the OpenAI API.

All requests write in turn, a few characters each, so that none waits long.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np

from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats, State
from charlm.sampling.generation import GrowingText, choose_ids, encode_prompt, random_seed, read_prompt
from charlm.serving.requests import ChatRequest, CompletionRequest
from charlm.text.vocabulary import Vocabulary

TURN = 32
"""The characters that a text gets in a turn: about two milliseconds of a small network."""


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that requests use."""

    name: str
    trained: TrainedModel
    created: int
    """When it was written, in seconds since 1970."""
    page: bytes
    """The page for writing with it, as `charlm export --format html` writes it."""


class Token(NamedTuple):
    """A character that was chosen, in the legacy form of log-probabilities."""

    text: str
    logprob: float
    """log p given the characters before it, by the model itself: before temperature and filters."""
    likeliest: dict[str, float] | None
    """log p of the likeliest tokens in its place, and of the token itself; None = not asked for."""


@dataclass(frozen=True)
class Piece:
    """The next part of a text."""

    text: str = ""
    tokens: tuple[Token, ...] = ()
    finish_reason: Literal["stop", "length"] | None = None


def _token(vocabulary: Vocabulary, index: int, logits: Floats, count: int) -> Token:
    wide = logits.astype(np.float64)
    wide -= wide.max()
    wide -= np.log(np.exp(wide).sum())
    likeliest = [*np.argsort(-wide, kind="stable")[:count].tolist(), index]
    named = {vocabulary.names[each]: float(wide[each]) for each in likeliest if wide[each] > -np.inf}
    return Token(vocabulary.names[index], float(wide[index]), named if count else None)


class Answer:
    """The texts that answer a request: `n` of each prompt, one prompt after the other.

    Text k of a prompt is the text that `charlm sample` writes with the seed of the request plus k.

    Args:
        model: What writes.
        wanted: The request; without a seed it gets a random one.

    """

    def __init__(self, model: ServedModel, wanted: CompletionRequest | ChatRequest) -> None:
        self._trained, self._wanted = model.trained, wanted
        self.count = wanted.n * len(wanted.prompts)
        """The number of texts."""
        self._chosen = 0  # ids, those held back and ends of texts included
        self._is_chat = isinstance(wanted, ChatRequest)
        self._head = {
            "id": f"{'chatcmpl' if self._is_chat else 'cmpl'}-{secrets.token_hex(12)}",
            "object": "chat.completion" if self._is_chat else "text_completion",
            "created": int(time.time()),
            "model": model.name,
        }

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Yield the pieces of the texts as they become certain, each with the index of its text.

        Between two turns the other requests have theirs. A turn is taken in the loop of events itself: in a thread, the
        two would wait for each other, and half as many characters come out.

        Raises:
            CharlmError: the logits are not finite.

        """
        first = random_seed() if self._wanted.seed is None else self._wanted.seed
        texts: list[Iterator[Piece]] = []
        for prompt in self._wanted.prompts:
            state: State = ()
            for after in read_prompt(self._trained.parameters, encode_prompt(self._trained.vocabulary, prompt)):
                state = after
                await asyncio.sleep(0)
            texts += [self._write(state, first + k) for k in range(self._wanted.n)]
        unfinished = dict(enumerate(texts))
        while unfinished:
            for index, text in [*unfinished.items()]:
                await asyncio.sleep(0)
                piece = next(text)
                if piece.finish_reason:
                    del unfinished[index]
                if piece.text or piece.finish_reason:
                    yield index, piece

    def _write(self, state: State, seed: int) -> Iterator[Piece]:
        """Choose the characters of a turn after each other, and yield what has become certain."""
        wanted, vocabulary = self._wanted, self._trained.vocabulary
        growing, tokens, chosen = GrowingText(vocabulary, stops=wanted.stop), list[Token](), 0
        steps = choose_ids(self._trained, state, sampler=wanted.sampler, seed=seed, length=wanted.length)
        while not growing.stopped_by:
            text, before = "", chosen
            with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
                for chosen, (index, logits) in enumerate(islice(steps, TURN), before + 1):
                    if wanted.logprobs is not None:
                        tokens.append(_token(vocabulary, index, logits, wanted.logprobs))
                    text += growing.read(index, is_last=chosen == wanted.length)
                    if growing.stopped_by:
                        break
            self._chosen += chosen - before
            reason = growing.stopped_by and ("length" if growing.stopped_by == "length" else "stop")
            yield Piece(text, tuple(tokens[: len(text)]), reason)
            tokens = tokens[len(text) :]

    def usage(self) -> dict[str, int]:
        """Return the object `usage` of the answer by now: characters that were read and chosen."""
        read = sum(len(self._trained.vocabulary.encode(prompt)) for prompt in self._wanted.prompts)
        return {"prompt_tokens": read, "completion_tokens": self._chosen, "total_tokens": read + self._chosen}

    def whole(self, texts: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        """Return the answer that holds the pieces of all texts."""
        choices = []
        for index, pieces in enumerate(texts):
            tokens = tuple(token for piece in pieces for token in piece.tokens)
            joined = Piece("".join(piece.text for piece in pieces), tokens, pieces[-1].finish_reason)
            message = {"message": {"role": "assistant", "content": joined.text, "refusal": None}}
            choices.append(self._choice(index, joined, message))
        return {**self._head, "choices": choices, "usage": self.usage()}

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a streamed answer; errors as `pieces`."""
        head: dict[str, Any] = self._head | ({"object": "chat.completion.chunk"} if self._is_chat else {})
        with_usage = self._wanted.stream_options.include_usage
        if with_usage:
            head["usage"] = None
        if self._is_chat:
            for index in range(self.count):
                delta = {"delta": {"role": "assistant", "content": ""}}
                yield {**head, "choices": [self._choice(index, Piece(), delta)]}
        async for index, piece in self.pieces():
            delta = {"delta": {"content": piece.text} if piece.text else {}}
            yield {**head, "choices": [self._choice(index, piece, delta)]}
        if with_usage:
            yield {**head, "choices": [], "usage": self.usage()}

    def _choice(self, index: int, piece: Piece, in_chat: Mapping[str, Any]) -> dict[str, Any]:
        """Return a text as answers have it: in a completion by itself, in a chat as `in_chat`."""
        logprobs = None
        if self._wanted.logprobs is not None:
            logprobs = {
                "tokens": [token.text for token in piece.tokens],
                "token_logprobs": [token.logprob for token in piece.tokens],
                "top_logprobs": [token.likeliest for token in piece.tokens],
            }
        content = in_chat if self._is_chat else {"text": piece.text}
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": piece.finish_reason}
