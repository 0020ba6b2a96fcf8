"""A request -> the chunks of its texts -> the objects of the OpenAI API.

All requests are answered in turn, a few characters each, so that none waits long.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.network.reading import VALUES_AT_ONCE
from charlm.network.rnn import Floats, State
from charlm.sampling.generation import (
    GrowingText,
    choose_ids,
    empty_prompt,
    random_seed,
    read_prompt_outputs,
)
from charlm.sampling.sampler import not_finite
from charlm.serving.models import ServedModel
from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError
from charlm.text.vocabulary import Vocabulary

TURN = 32
"""The characters that a text gets in a turn: about two milliseconds of a small network."""


class Token(NamedTuple):
    """A character of an answer, in the legacy form of log-probabilities."""

    text: str
    logprob: float | None
    """log p given the characters before it, by the model itself: before temperature and filters. None for the first
    character of a prompt."""
    likeliest: dict[str, float] | None
    """log p of the likeliest tokens in its place, and of the token itself; None = not asked for, or not known."""
    offset: int
    """Its position in the text of the answer."""


@dataclass(frozen=True)
class Chunk:
    """The next part of a text."""

    text: str = ""
    tokens: tuple[Token, ...] = ()
    finish_reason: Literal["stop", "length"] | None = None


def _token(vocabulary: Vocabulary, index: int, logits: Floats, *, count: int, offset: int) -> Token:
    """Return the token of an id, given the logits [V] before it and how many likely tokens to name."""
    wide = logits.astype(np.float64)
    wide -= wide.max()
    wide -= np.log(np.exp(wide).sum())
    likeliest = [*np.argsort(-wide, kind="stable")[:count].tolist(), index]
    named = {
        vocabulary.names[each]: float(wide[each]) for each in likeliest if wide[each] > -np.inf
    }
    return Token(vocabulary.names[index], float(wide[index]), named if count else None, offset)


class Turnstile:
    """Lets requests take turns, in the order in which they ask.

    The event loop runs between two turns, so a quick request waits for one turn at most.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait(self) -> None:
        """Wait until it is the caller's turn, which lasts until its next `await`."""
        async with self._lock:
            await asyncio.sleep(0)


class Answer:
    """The texts that answer a request: `n` of each prompt, one prompt after the other.

    Text k of a prompt is the text that `charlm sample` generates with the seed of the request plus k.

    Args:
        model: The model that generates the texts.
        wanted: The request; without a seed it gets a random one.
        turns: The turnstile that all requests of a server share; None = there is no other request.

    Raises:
        RequestError: with status 400; an id of a prompt is not one of the model.

    """

    def __init__(
        self,
        model: ServedModel,
        wanted: CompletionRequest | ChatRequest,
        *,
        turns: Turnstile | None = None,
    ) -> None:
        self._turns = turns or Turnstile()
        self._trained = model.trained
        self._wanted = wanted
        self._prompts = [prompt_ids(model.trained.vocabulary, prompt) for prompt in wanted.prompts]
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

    async def chunks(self) -> AsyncIterator[tuple[int, Chunk]]:
        """Yield the chunks of the texts as they become certain, each with the index of its text.

        Between two turns the other requests have theirs. A turn is taken in the loop of events itself: in a thread, the
        two would wait for each other, and half as many characters come out.

        Raises:
            CharlmError: the logits are not finite.

        """
        first_seed = random_seed() if self._wanted.seed is None else self._wanted.seed
        unfinished: dict[int, Iterator[Chunk]] = {}
        for ids in self._prompts:
            state: State = ()
            numbers = range(len(unfinished), len(unfinished) + self._wanted.n)
            offset = 0
            async for after, echo in self._read(ids):
                state = after
                offset += len(echo.text)
                if echo.text or echo.tokens:
                    for number in numbers:
                        yield number, echo
            for k, number in enumerate(numbers):
                unfinished[number] = self._generate(state, first_seed + k, offset=offset)
        while unfinished:
            for index, text in [*unfinished.items()]:
                await self._turns.wait()
                chunk = next(text)
                if chunk.finish_reason:
                    del unfinished[index]
                if chunk.text or chunk.finish_reason:
                    yield index, chunk

    async def _read(self, ids: NDArray[np.int64]) -> AsyncIterator[tuple[State, Chunk]]:
        """Read a prompt block by block; yield the state after each block, and the part of the prompt to repeat."""
        vocabulary = self._trained.vocabulary
        echo = self._first_echo(ids)
        offset = 0
        end = 0
        for outputs in read_prompt_outputs(
            self._trained.parameters, ids if len(ids) else empty_prompt(vocabulary)
        ):
            await self._turns.wait()
            start = end
            end += len(outputs[0])
            if self._wanted.echo:
                predicted = ids[start + 1 : end + 1]
                place = offset + len(echo.text)
                tokens = [token async for token in self._predict(outputs, predicted, offset=place)]
                echo = Chunk(echo.text + vocabulary.decode(predicted), (*echo.tokens, *tokens))
            yield tuple(output[-1] for output in outputs), echo
            offset += len(echo.text)
            echo = Chunk()

    def _first_echo(self, ids: NDArray[np.int64]) -> Chunk:
        """Return the first character of a prompt, which nothing predicts, if the prompt is to be repeated."""
        if not self._wanted.echo or not len(ids):
            return Chunk()
        vocabulary = self._trained.vocabulary
        token = Token(vocabulary.names[ids[0]], None, None, 0)
        return Chunk(vocabulary.glyphs[ids[0]], () if self._wanted.logprobs is None else (token,))

    async def _predict(
        self, outputs: State, ids: NDArray[np.int64], *, offset: int
    ) -> AsyncIterator[Token]:
        """Yield the tokens of ids [n], predicted by the outputs of as many characters or more, [t, 1, H] by layer.

        There are none if the request asks for no log-probabilities.
        """
        if self._wanted.logprobs is None:
            return
        parameters = self._trained.parameters
        vocabulary = self._trained.vocabulary
        rows = min(TURN, parameters.rows_at_once(VALUES_AT_ONCE))
        for start in range(0, len(ids), rows):
            await self._turns.wait()
            part = ids[start : start + rows]
            with np.errstate(over="ignore", invalid="ignore"):
                logits = parameters.logits(
                    [output[start : start + len(part), 0] for output in outputs]
                )
            if not np.isfinite(logits).all():
                raise not_finite()
            for index, row in zip(part.tolist(), logits, strict=True):
                yield _token(vocabulary, index, row, count=self._wanted.logprobs, offset=offset)
                offset += len(vocabulary.glyphs[index])

    def _generate(self, state: State, seed: int, *, offset: int) -> Iterator[Chunk]:
        """Choose the characters of a turn, and yield the text that has become certain.

        Args:
            state: The state after the prompt.
            seed: The seed of the random numbers.
            offset: The length of the repeated prompt.

        """
        wanted, vocabulary = self._wanted, self._trained.vocabulary
        if not wanted.length:
            yield Chunk(finish_reason="length")
            return
        growing, tokens, chosen = GrowingText(vocabulary, stops=wanted.stop), list[Token](), 0
        steps = choose_ids(
            self._trained, state, sampler=wanted.sampler, seed=seed, length=wanted.length
        )
        while not growing.stopped_by:
            text, before = "", chosen
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # values that are not finite raise a CharlmError
                for chosen, (index, logits) in enumerate(islice(steps, TURN), before + 1):
                    if wanted.logprobs is not None:
                        place = offset + chosen - 1
                        tokens.append(
                            _token(vocabulary, index, logits, count=wanted.logprobs, offset=place)
                        )
                    text += growing.read(index, is_last=chosen == wanted.length)
                    if growing.stopped_by:
                        break
            self._chosen += chosen - before
            reason = growing.stopped_by and ("length" if growing.stopped_by == "length" else "stop")
            yield Chunk(text, tuple(tokens[: len(text)]), reason)
            tokens = tokens[len(text) :]

    def usage(self) -> dict[str, int]:
        """Return the object `usage` of the answer by now: characters that were read and chosen."""
        read = sum(map(len, self._prompts))
        return {
            "prompt_tokens": read,
            "completion_tokens": self._chosen,
            "total_tokens": read + self._chosen,
        }

    def whole(self, texts: Sequence[Sequence[Chunk]]) -> dict[str, Any]:
        """Return the answer that holds the chunks of all texts."""
        choices = []
        for index, chunks in enumerate(texts):
            tokens = tuple(token for chunk in chunks for token in chunk.tokens)
            joined = Chunk(
                "".join(chunk.text for chunk in chunks), tokens, chunks[-1].finish_reason
            )
            message = {"message": {"role": "assistant", "content": joined.text, "refusal": None}}
            choices.append(self._choice(index, joined, message))
        return {**self._head, "choices": choices, "usage": self.usage()}

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a streamed answer; errors as `chunks`."""
        head: dict[str, Any] = self._head | (
            {"object": "chat.completion.chunk"} if self._is_chat else {}
        )
        with_usage = self._wanted.stream_options.include_usage
        if with_usage:
            head["usage"] = None
        if self._is_chat:
            for index in range(self.count):
                delta = {"delta": {"role": "assistant", "content": ""}}
                yield {**head, "choices": [self._choice(index, Chunk(), delta)]}
        async for index, chunk in self.chunks():
            delta = {"delta": {"content": chunk.text} if chunk.text else {}}
            yield {**head, "choices": [self._choice(index, chunk, delta)]}
        if with_usage:
            yield {**head, "choices": [], "usage": self.usage()}

    def _choice(self, index: int, chunk: Chunk, in_chat: Mapping[str, Any]) -> dict[str, Any]:
        """Return a text as answers have it: in a completion by itself, in a chat as `in_chat`."""
        logprobs = None
        if self._wanted.logprobs is not None:
            logprobs = {
                "tokens": [token.text for token in chunk.tokens],
                "token_logprobs": [token.logprob for token in chunk.tokens],
                "top_logprobs": [token.likeliest for token in chunk.tokens],
                "text_offset": [token.offset for token in chunk.tokens],
            }
        content = in_chat if self._is_chat else {"text": chunk.text}
        return {
            "index": index,
            **content,
            "logprobs": logprobs,
            "finish_reason": chunk.finish_reason,
        }


def prompt_ids(
    vocabulary: Vocabulary, prompt: str | Sequence[int], *, field: str = "prompt"
) -> NDArray[np.int64]:
    """Return the ids of a prompt, int64 [n]; n may be 0.

    Args:
        vocabulary: The characters by id.
        prompt: A text, whose unknown characters are left out, or ids.
        field: The field of the request, for an error.

    Raises:
        RequestError: with status 400; an id is not in the vocabulary.

    """
    if isinstance(prompt, str):
        return vocabulary.encode(prompt)
    wrong = next((index for index in prompt if not 0 <= index < len(vocabulary)), None)
    if wrong is not None:
        message = f"{field}: found the id {wrong}; must be from 0 to {len(vocabulary) - 1}"
        raise RequestError(400, message, param=field)
    return np.array(prompt, np.int64)
