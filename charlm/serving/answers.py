"""Generate the texts of a request, and convert them to objects of the OpenAI API.

All requests take turns of a few characters, so that no request waits long.
"""

import asyncio
import secrets
import time
from collections import Counter
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
"""Number of characters per turn, about 2 ms with a small network."""


class Token(NamedTuple):
    """A character of an answer with its log-probabilities."""

    text: str
    logprob: float | None
    """log p before temperature and filters; None for the first character of a prompt."""
    likeliest: dict[str, float] | None
    """log p of the most likely tokens and of this token; None if unknown or not requested."""
    offset: int
    """Position in the text of the answer."""


@dataclass(frozen=True)
class Chunk:
    """The next characters of a text."""

    text: str = ""
    tokens: tuple[Token, ...] = ()
    finish_reason: Literal["stop", "length"] | None = None


def _token(vocabulary: Vocabulary, index: int, logits: Floats, *, count: int, offset: int) -> Token:
    """Return the token of an id.

    Args:
        vocabulary: Characters by id.
        index: The id.
        logits: Logits before this character, float32 [V].
        count: Number of most likely tokens to report.
        offset: Position in the text of the answer.

    """
    log_p = logits.astype(np.float64)
    log_p -= log_p.max()
    log_p -= np.log(np.exp(log_p).sum())
    name = vocabulary.names[index]
    if not count:
        return Token(name, float(log_p[index]), None, offset)
    likeliest = {}
    for candidate in (*np.argsort(-log_p, kind="stable")[:count].tolist(), index):
        if log_p[candidate] > -np.inf:
            likeliest[vocabulary.names[candidate]] = float(log_p[candidate])
    return Token(name, float(log_p[index]), likeliest, offset)


class Turnstile:
    """Lets requests take turns in the order in which they arrive.

    The event loop runs between two turns, so a quick request waits for at most one turn.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait(self) -> None:
        """Wait for a turn, which lasts until the caller's next `await`."""
        async with self._lock:
            await asyncio.sleep(0)


class Answer:
    """The texts that answer a request: `n` for each prompt, in the order of the prompts.

    Text k of a prompt equals the text of `charlm sample` with the seed of the request plus k.

    Args:
        model: Model that generates the texts.
        request: Parsed request; without a seed it gets a random one.
        turns: Turnstile shared by all requests of a server; None = there are no other requests.

    Raises:
        RequestError: An id in a prompt is invalid; status 400.

    """

    def __init__(
        self,
        model: ServedModel,
        request: CompletionRequest | ChatRequest,
        *,
        turns: Turnstile | None = None,
    ) -> None:
        self._turns = turns or Turnstile()
        self._trained = model.trained
        self._request = request
        self._prompts = [prompt_ids(model.trained.vocabulary, prompt) for prompt in request.prompts]
        self.count = request.n * len(request.prompts)
        """Number of texts."""
        self._chosen = 0  # ids chosen, including text held back and ends of texts
        self._is_chat = isinstance(request, ChatRequest)
        self._head: dict[str, Any] = {
            "id": f"{'chatcmpl' if self._is_chat else 'cmpl'}-{secrets.token_hex(12)}",
            "object": "chat.completion" if self._is_chat else "text_completion",
            "created": int(time.time()),
            "model": model.name,
        }
        left_out = Counter[str]()
        for prompt in request.prompts:
            if isinstance(prompt, str):
                left_out += model.trained.vocabulary.left_out(prompt)
        if left_out:
            self._head["left_out"] = dict(left_out)

    async def chunks(self) -> AsyncIterator[tuple[int, Chunk]]:
        """Yield chunks of all texts, each with the index of its text.

        Other requests run between two turns. Turns run in the event loop itself; threads would wait
        for each other, at half the speed.

        Raises:
            CharlmError: The logits are not finite.

        """
        request = self._request
        first_seed = random_seed() if request.seed is None else request.seed
        unfinished: dict[int, Iterator[Chunk]] = {}
        for ids in self._prompts:
            numbers = range(len(unfinished), len(unfinished) + request.n)
            state: State = ()
            offset = 0
            async for next_state, echo in self._read(ids):
                state = next_state
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
        """Read a prompt; yield the state after each block, and the part of the prompt to echo."""
        vocabulary = self._trained.vocabulary
        echo = self._first_echo(ids)
        offset = 0
        end = 0
        prompt = ids if len(ids) else empty_prompt(vocabulary)
        for outputs in read_prompt_outputs(self._trained.parameters, prompt):
            await self._turns.wait()
            start = end
            end += len(outputs[0])
            if self._request.echo:
                predicted = ids[start + 1 : end + 1]
                position = offset + len(echo.text)
                predictions = self._predict(outputs, predicted, offset=position)
                tokens = [token async for token in predictions]
                echo = Chunk(echo.text + vocabulary.decode(predicted), (*echo.tokens, *tokens))
            yield tuple(output[-1] for output in outputs), echo
            offset += len(echo.text)
            echo = Chunk()

    def _first_echo(self, ids: NDArray[np.int64]) -> Chunk:
        """Return the first character of an echoed prompt; nothing predicts this character."""
        if not self._request.echo or not len(ids):
            return Chunk()
        vocabulary = self._trained.vocabulary
        glyph = vocabulary.glyphs[ids[0]]
        if self._request.logprobs is None:
            return Chunk(glyph)
        return Chunk(glyph, (Token(vocabulary.names[ids[0]], None, None, 0),))

    async def _predict(
        self, outputs: State, ids: NDArray[np.int64], *, offset: int
    ) -> AsyncIterator[Token]:
        """Yield the tokens of ids with their log-probabilities, if the request asks for them.

        Args:
            outputs: Outputs of each layer before these ids, [T, 1, H] with T >= n.
            ids: Ids [n].
            offset: Position of the first id in the text of the answer.

        """
        if self._request.logprobs is None:
            return
        parameters = self._trained.parameters
        vocabulary = self._trained.vocabulary
        rows = min(TURN, parameters.rows_at_once(VALUES_AT_ONCE))
        for start in range(0, len(ids), rows):
            await self._turns.wait()
            segment = ids[start : start + rows]
            rows_of_outputs = [output[start : start + len(segment), 0] for output in outputs]
            with np.errstate(over="ignore", invalid="ignore"):
                logits = parameters.logits(rows_of_outputs)
            if not np.isfinite(logits).all():
                raise not_finite()
            for index, row in zip(segment.tolist(), logits, strict=True):
                yield _token(vocabulary, index, row, count=self._request.logprobs, offset=offset)
                offset += len(vocabulary.glyphs[index])

    def _generate(self, state: State, seed: int, *, offset: int) -> Iterator[Chunk]:
        """Generate a text in chunks, one per turn.

        Args:
            state: State after the prompt.
            seed: Seed of the text.
            offset: Length of the echoed prompt.

        """
        request = self._request
        vocabulary = self._trained.vocabulary
        if not request.length:
            yield Chunk(finish_reason="length")
            return
        growing = GrowingText(vocabulary, stops=request.stop)
        tokens: list[Token] = []
        chosen = 0
        steps = choose_ids(
            self._trained, state, sampler=request.sampler, seed=seed, length=request.length
        )
        while not growing.stopped_by:
            text = ""
            with np.errstate(over="ignore", invalid="ignore"):  # choose_ids raises a CharlmError
                for index, logits in islice(steps, TURN):
                    if request.logprobs is not None:
                        position = offset + chosen
                        count = request.logprobs
                        tokens.append(
                            _token(vocabulary, index, logits, count=count, offset=position)
                        )
                    chosen += 1
                    self._chosen += 1
                    text += growing.read(index, is_last=chosen == request.length)
                    if growing.stopped_by:
                        break
            yield Chunk(text, tuple(tokens[: len(text)]), _finish_reason(growing))
            tokens = tokens[len(text) :]

    def usage(self) -> dict[str, int]:
        """Return the object `usage`: the numbers of characters read and chosen so far."""
        read = sum(map(len, self._prompts))
        return {
            "prompt_tokens": read,
            "completion_tokens": self._chosen,
            "total_tokens": read + self._chosen,
        }

    def whole(self, texts: Sequence[Sequence[Chunk]]) -> dict[str, Any]:
        """Return the complete answer, given the chunks of each text."""
        choices = []
        for index, chunks in enumerate(texts):
            text = "".join(chunk.text for chunk in chunks)
            tokens = tuple(token for chunk in chunks for token in chunk.tokens)
            message = {"message": {"role": "assistant", "content": text, "refusal": None}}
            joined = Chunk(text, tokens, chunks[-1].finish_reason)
            choices.append(self._choice(index, joined, message))
        return {**self._head, "choices": choices, "usage": self.usage()}

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a streamed answer; see `chunks` for errors."""
        head: dict[str, Any] = dict(self._head)
        if self._is_chat:
            head["object"] = "chat.completion.chunk"
        with_usage = self._request.stream_options.include_usage
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
        """Return the object `choice` of a text; `in_chat` is its content in a chat."""
        logprobs = None
        if self._request.logprobs is not None:
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


def _finish_reason(growing: GrowingText) -> Literal["stop", "length"] | None:
    if growing.stopped_by is None:
        return None
    return "length" if growing.stopped_by == "length" else "stop"


def prompt_ids(
    vocabulary: Vocabulary, prompt: str | Sequence[int], *, field: str = "prompt"
) -> NDArray[np.int64]:
    """Return the ids of a prompt, int64 [n]; n may be 0.

    Args:
        vocabulary: Characters by id.
        prompt: A text, whose unknown characters are left out, or ids.
        field: Field of the request, for messages.

    Raises:
        RequestError: An id is not in the vocabulary; status 400.

    """
    if isinstance(prompt, str):
        return vocabulary.encode(prompt)
    for index in prompt:
        if not 0 <= index < len(vocabulary):
            message = f"{field}: found the id {index}; must be from 0 to {len(vocabulary) - 1}"
            raise RequestError(400, message, param=field)
    return np.array(prompt, np.int64)
