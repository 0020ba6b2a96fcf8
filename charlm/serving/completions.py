"""Requests for texts, and the texts as objects of the OpenAI API.

Axes: n ids, V vocabulary.
"""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BeforeValidator, FailFast, Field, ValidationError, model_validator

from charlm.checks import MAX_WHOLE
from charlm.config.file import explain
from charlm.config.schema import Filters, NotNegative
from charlm.core.generation import (
    StoppedBy,
    TextRequest,
    continue_text,
    random_seed,
    read_prompt,
)
from charlm.core.model_file import TrainedModel
from charlm.core.rnn import Floats, Integers, State, ignore_overflow, log_softmax
from charlm.core.sampler import Sampler, not_finite
from charlm.core.vocabulary import has_too_many_marks
from charlm.errors import CharlmError

TURN = 32
"""Number of characters that a request generates before others go on; 2 ms in a small network."""
MAX_CHARACTERS = 65_536
"""Maximum number of characters to read and to generate for a request, over all its texts. With
log-probabilities, each counts once for each likely character that is reported."""
MAX_FIELDS = 100
MAX_MARKS = 30
"""Maximum number of combining marks in a row in a prompt; ordering many of them takes long."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


FinishReason = Literal["stop", "length"]
Texts = Annotated[list[str], FailFast(), BeforeValidator(_as_list)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Stops = Annotated[list[Stop], FailFast(), BeforeValidator(_as_list)]


class CompletionRequest(Filters):
    """The body of POST /v1/completions; a null field has its default."""

    model: str | None = None
    """Name of the model; null = the first model."""
    prompt: Texts = Field(default=[""], min_length=1, max_length=128)
    """Texts to continue."""
    max_tokens: NotNegative = 16
    """Maximum number of characters of each text."""
    n: int = Field(default=1, ge=1, le=128)
    """Number of texts for each prompt."""
    temperature: float = Field(default=1.0, ge=0)
    seed: int | None = Field(default=None, ge=0, le=MAX_WHOLE)
    """Seed of the first text of each prompt; the next text has the next seed."""
    stop: Stops = Field(default=[], max_length=16)
    """Texts before which the answer ends."""
    stream: bool = False
    """Whether to send the text while it is generated."""
    stream_options: dict[Literal["include_usage"], bool] = Field(default={})
    logprobs: int | None = Field(default=None, ge=0, le=20)
    """Number of most likely characters to report for each character."""
    echo: bool = False
    """Whether the answer starts with the prompt."""
    user: str | None = None
    """Name for the caller's own use."""
    frequency_penalty: Literal[0] = 0
    """This field and the next one are accepted only with 0, which clients send."""
    presence_penalty: Literal[0] = 0

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        if len(fields) > MAX_FIELDS:
            raise ValueError(f"{len(fields):,} fields; must be at most {MAX_FIELDS}")
        return {name: value for name, value in fields.items() if value is not None}

    @model_validator(mode="after")
    def _check_size(self) -> "CompletionRequest":
        of_each = len(self.prompt) * self.max_tokens + sum(map(len, self.prompt))
        size = self.n * of_each * max(1, self.logprobs or 1)
        if size > MAX_CHARACTERS:
            raise ValueError(
                f"n x (prompt + max_tokens), times logprobs: {size:,} characters; must be at most "
                f"{MAX_CHARACTERS:,} over all texts of a request"
            )
        if any(has_too_many_marks(prompt, most=MAX_MARKS) for prompt in self.prompt):
            raise ValueError(f"prompt: more than {MAX_MARKS} combining marks in a row")
        return self


def parse_request(body: bytes) -> CompletionRequest:
    """Return the request in a body, JSON in UTF-8.

    Raises:
        CharlmError: The body is not JSON, a field is unknown or invalid, or the request is too
            large.

    """
    try:
        return CompletionRequest.model_validate_json(body)
    except ValidationError as error:
        raise CharlmError(explain(error.errors()[0], CompletionRequest)) from None


class Token(NamedTuple):
    """A character with its log-probabilities."""

    text: str
    logprob: float | None
    """log p, in nats; None for the first character of a prompt."""
    likeliest: dict[str, float] | None
    """log p of the most likely characters and of this one; None if unknown or not requested."""


class TokenReader:
    """Reads a text, and gives each character its log-probability.

    A character has the same log-probability whether it was generated or not: minus its loss in
    `Model.score`. The softmax is over all ids, before temperature and filters.

    Args:
        model: The model.
        count: Number of most likely characters to report; None = read nothing.

    """

    def __init__(self, model: TrainedModel, *, count: int | None) -> None:
        self._parameters = model.parameters
        self._names = model.vocabulary.names
        self._count = count
        self._state = model.parameters.zero_state(1)
        self._log_p: Floats | None = None  # of the next character, [V]

    def read(self, ids: Integers) -> list[Token]:
        """Read the next ids, int64 [n]; n should be small, because the logits are [n, V].

        Raises:
            CharlmError: The logits are not finite.

        """
        if self._count is None:
            return []
        with ignore_overflow():
            logits, self._state = self._parameters.unroll(ids[:, None], self._state)
        if not np.isfinite(logits).all():
            raise not_finite()
        tokens = []
        for index, row in zip(ids.tolist(), logits[:, 0].astype(np.float64), strict=True):
            tokens.append(self._token(index))
            self._log_p = log_softmax(row)
        return tokens

    def _token(self, index: int) -> Token:
        name = self._names[index]
        log_p = self._log_p
        if log_p is None:
            return Token(name, None, None)
        likeliest = None
        if self._count:
            ranked = np.argsort(-log_p, kind="stable")[: self._count]
            likeliest = {self._names[each]: float(log_p[each]) for each in (*ranked, index)}
        return Token(name, float(log_p[index]), likeliest)


@dataclass
class Choice:
    """A text of an answer, or its next characters."""

    index: int
    """Number of the text."""
    offset: int
    """Number of characters of the text before these."""
    text: str
    tokens: list[Token]
    """The characters with their log-probabilities; empty if they were not requested."""
    finish_reason: FinishReason | None
    """The reason why the text ended; None while it can continue."""


@dataclass
class Completion:
    """The answer to a request.

    Text k of a prompt equals the text of `charlm sample` with the seed of the request plus k.
    """

    model: TrainedModel
    request: CompletionRequest
    """The request; without a seed it gets a random one."""
    name: str
    """Name of the model in the answer."""
    wait: Callable[[], Awaitable[None]]
    """Function that lets other requests go on."""

    def __post_init__(self) -> None:
        prompts = [*map(self.model.vocabulary.read, self.request.prompt)]
        self._prompts = [ids for ids, _ in prompts]
        self._left_out = [left_out for _, left_out in prompts]
        self._generated = 0  # number of characters
        self._head: dict[str, Any] = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.name,
        }

    async def whole(self, is_given_up: Callable[[], Awaitable[bool]]) -> dict[str, Any]:
        """Return the whole answer.

        Args:
            is_given_up: Function that returns whether nobody waits for the answer, which then ends.

        Raises:
            CharlmError: The logits are not finite.

        """
        choices: list[Choice] = []
        async for part in self._parts():
            if await is_given_up():
                break
            if part.index == len(choices):
                choices.append(part)
                continue
            choice = choices[-1]
            choice.text += part.text
            choice.tokens += part.tokens
            choice.finish_reason = part.finish_reason
        return {**self._head, "choices": [*map(self._fields, choices)], "usage": self._usage()}

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a streamed answer; see `whole` for errors."""
        async for part in self._parts():
            yield {**self._head, "choices": [self._fields(part)]}
        if self.request.stream_options.get("include_usage"):
            yield {**self._head, "choices": [], "usage": self._usage()}

    async def _parts(self) -> AsyncIterator[Choice]:
        """Yield the parts of all texts, one text after the other; a prompt is read once.

        The first part of a text is the echo of its prompt.
        """
        request = self.request
        vocabulary = self.model.vocabulary
        first_seed = random_seed() if request.seed is None else request.seed
        for number, prompt in enumerate(self._prompts):
            ids = prompt if len(prompt) else self.model.start
            for block_state in read_prompt(self.model.parameters, ids):
                state = block_state
                await self.wait()
            reader = TokenReader(self.model, count=request.logprobs)
            tokens = await self._score(reader, ids)
            echo = vocabulary.decode(prompt) if request.echo else ""
            reason: FinishReason | None = None if request.max_tokens else "length"
            for k in range(request.n):
                index = number * request.n + k
                yield Choice(index, 0, echo, tokens[: len(echo)], reason)
                text = self._text(index, len(echo), state, copy(reader), seed=first_seed + k)
                async for part in text:
                    yield part

    async def _text(
        self, index: int, offset: int, state: State, reader: TokenReader, *, seed: int
    ) -> AsyncIterator[Choice]:
        """Yield the parts of a text after its prompt, one for each turn.

        Turns run in the event loop itself; threads would wait for each other, at half the speed.

        Args:
            index: Number of the text.
            offset: Number of characters of the echo before it.
            state: The state after the prompt.
            reader: A reader that has read the prompt.
            seed: Seed of the text.

        """
        request = self.request
        if not request.max_tokens:
            return
        sampler = Sampler.of(request, temperature=request.temperature)
        settings = TextRequest(request.max_tokens, sampler, seed, stops=request.stop)
        text = continue_text(self.model, state, settings)
        while True:
            chunk = text.read(TURN)
            tokens = reader.read(self.model.vocabulary.look_up(chunk))
            self._generated += len(chunk)
            yield Choice(index, offset, chunk, tokens, _finish_reason(text.stopped_by))
            if text.stopped_by:
                return
            offset += len(chunk)
            await self.wait()

    async def _score(self, reader: TokenReader, ids: Integers) -> list[Token]:
        """Return the tokens of a prompt, if log-probabilities were requested."""
        if self.request.logprobs is None:
            return []
        tokens: list[Token] = []
        for start in range(0, len(ids), TURN):
            tokens += reader.read(ids[start : start + TURN])
            await self.wait()
        return tokens

    def _usage(self) -> dict[str, int]:
        """Return the numbers of characters read and generated so far."""
        read = sum(map(len, self._prompts))
        return {
            "prompt_tokens": read,
            "completion_tokens": self._generated,
            "total_tokens": read + self._generated,
        }

    def _fields(self, choice: Choice) -> dict[str, Any]:
        """Return the object of a choice."""
        logprobs = None
        if self.request.logprobs is not None:
            end = choice.offset + len(choice.tokens)
            logprobs = {
                "tokens": [token.text for token in choice.tokens],
                "token_logprobs": [token.logprob for token in choice.tokens],
                "top_logprobs": [token.likeliest for token in choice.tokens],
                "text_offset": [*range(choice.offset, end)],
            }
        left_out = self._left_out[choice.index // self.request.n]
        return {
            "index": choice.index,
            "text": choice.text,
            "logprobs": logprobs,
            "finish_reason": choice.finish_reason,
            **({"left_out": left_out} if left_out else {}),
        }


def _finish_reason(stopped_by: StoppedBy | None) -> FinishReason | None:
    if stopped_by is None:
        return None
    return "length" if stopped_by == "length" else "stop"
