"""Parse the bodies of requests. A field or value that is not supported is refused by name; nothing is ignored.

The fields are those of the OpenAI API, and the filters of `charlm sample`. An unsupported field is accepted if its
value means that it is not used.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from charlm.checks import parse_json
from charlm.config.file import explain
from charlm.config.schema import Filters
from charlm.errors import CharlmError
from charlm.sampling.sampler import Sampler
from charlm.text.vocabulary import MAX_MARKS, has_too_many_marks
from charlm.wording import escape_controls

MAX_BODY_BYTES = 1 << 20
MAX_TEXTS = 128
"""The largest number of texts in an answer, over all prompts."""
MAX_PROMPT_CHARACTERS = 65_536
"""The largest number of characters in all prompts of a request."""
MAX_TOKENS = 65_536
"""The largest number of characters to generate, over all texts of an answer; a token is a character."""
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 1000
MAX_LIKELIEST = 20
MAX_LOGPROBS = 131_072
"""The largest number of log-probabilities in an answer, over all its texts: they take about 20 MB."""
MAX_SEED = 2**63 - 1
COMPLETION_TOKENS, CHAT_TOKENS = 16, 256
"""The length of a text if the request names none, in characters; 16 is the default of the OpenAI API."""
UNUSED: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "best_of": (1,),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""Fields of the OpenAI API that charlm does not support, with the values that mean that they are not used."""
UNUSED_IN_CHAT: Mapping[str, tuple[Any, ...]] = {
    **UNUSED,
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "reasoning_effort": ("none",),
}
"""Unsupported fields of a chat."""


class RequestError(Exception):
    """A request is refused.

    Args:
        status: The HTTP status, 400 to 599.
        message: One line: what was found, and what is expected.
        param: The field of the request that is wrong, or None.
        code: A word for programs, or None.

    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


def _check_text(text: str) -> str:
    """Return a text in the normal form in which models read it, which can have more characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has an unpaired surrogate, which is not a character") from None
    if has_too_many_marks(text):
        raise ValueError(f"has more than {MAX_MARKS:,} combining marks in a row")
    return unicodedata.normalize("NFC", text)


def _to_list(value: Any) -> Any:
    """Return a text as a list of one, a list as it is."""
    if not isinstance(value, str | list):
        raise ValueError("must be a valid string or list")
    return [value] if isinstance(value, str) else value


def _to_prompts(value: Any) -> Any:
    """Return a text, or a list of ids, as a list of one; other lists as they are."""
    is_ids = isinstance(value, list) and value and all(type(each) is int for each in value)
    return [value] if is_ids else _to_list(value)


def _check_prompt(value: Any) -> Any:
    """Return a prompt, a text or a list of ids; the model decides which ids there are."""
    if isinstance(value, str):
        return _check_text(value)
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise ValueError("must be a text or a list of ids")
    return value


def _to_parts(value: Any) -> Any:
    """Return the content of a message as a list of parts."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else _to_list(value)


Text = Annotated[str, AfterValidator(_check_text)]
Prompt = Annotated[str | list[int], PlainValidator(_check_prompt)]
Stop = Annotated[
    str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS), AfterValidator(_check_text)
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class StreamOptions(_Strict):
    """Options of a streamed answer."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class TextsRequest(_Strict, Filters):
    """The fields that both kinds of requests have."""

    unused: ClassVar[Mapping[str, tuple[Any, ...]]] = UNUSED
    """The fields that may have only some values; they have no effect."""

    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    n: Annotated[int, Field(ge=1, le=MAX_TEXTS)] = 1
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    stop: Annotated[
        list[Stop], Field(max_length=MAX_STOPS), FailFast(), BeforeValidator(_to_list)
    ] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    user: str | None = None
    """A name for the caller's own use. This field and the next three have no effect on a text in the OpenAI API."""
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] = {}

    @property
    def sampler(self) -> Sampler:
        """The settings of the choice of each character."""
        return Sampler.of(self, temperature=self.temperature)


class CompletionRequest(TextsRequest):
    """The body of POST /v1/completions."""

    prompt: Annotated[
        list[Prompt],
        Field(min_length=1, max_length=MAX_TEXTS),
        FailFast(),
        BeforeValidator(_to_prompts),
    ] = [""]
    """The texts to continue, or their ids."""
    max_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] = COMPLETION_TOKENS
    logprobs: Annotated[int, Field(ge=0, le=MAX_LIKELIEST)] | None = None
    """The number of likeliest tokens to report next to the log-probability of each token; None = report neither."""
    echo: bool = False
    """Whether the answer begins with the prompt, whose tokens then have log-probabilities as well."""

    @model_validator(mode="after")
    def _generate_or_repeat_something(self) -> "CompletionRequest":
        if not self.max_tokens and not self.echo:
            raise ValueError("max_tokens: found 0; must be 1 or more, or 0 with echo")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """The texts to continue, or their ids."""
        return self.prompt

    @property
    def length(self) -> int:
        """The most characters of each text."""
        return self.max_tokens


class TextPart(_Strict):
    """A part of a message; the only kind is text."""

    type: Literal["text"]
    text: Text


class Message(_Strict):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        list[TextPart], Field(max_length=1024), FailFast(), BeforeValidator(_to_parts)
    ]
    name: str | None = None
    """The name of the participant; no effect."""
    annotations: Annotated[list[Any], Field(max_length=0)] = []
    """Always empty: the API returns it with messages, and clients send it back."""


class ChatRequest(TextsRequest):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024), FailFast()]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = CHAT_TOKENS
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None

    unused: ClassVar[Mapping[str, tuple[Any, ...]]] = UNUSED_IN_CHAT
    logprobs: ClassVar[None] = None
    """They have another form in a chat, which is not supported."""
    echo: ClassVar[bool] = False

    @property
    def prompts(self) -> list[str | list[int]]:
        """The texts of the messages, a line each: a network of characters knows no roles."""
        return [
            "\n".join("".join(part.text for part in message.content) for message in self.messages)
        ]

    @property
    def length(self) -> int:
        """The most characters of each text."""
        return self.max_completion_tokens or self.max_tokens


class TokenizeRequest(_Strict):
    """The body of POST /tokenize, as vLLM has it."""

    model: str | None = None
    prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)]
    add_special_tokens: bool = False
    """No effect: charlm adds no ids to a text."""


class DetokenizeRequest(_Strict):
    """The body of POST /detokenize, as vLLM has it."""

    model: str | None = None
    tokens: Annotated[list[int], Field(max_length=MAX_PROMPT_CHARACTERS), FailFast()]


Body = TypeVar("Body", CompletionRequest, ChatRequest, TokenizeRequest, DetokenizeRequest)


def parse_request(kind: type[Body], body: bytes) -> Body:
    """Return the request in a body; a field that is null is taken as left out.

    Args:
        kind: The class of the request.
        body: JSON in UTF-8.

    Raises:
        RequestError: with status 400; the body is not JSON, a field is unknown or out of range, or more is asked for
            than a server answers for one request.

    """
    try:
        fields = _without_nulls(parse_json(body, origin="the body"))
    except CharlmError as error:
        message = str(error)
        field = re.match(r"the body: (\w+)[.:]", message)
        raise RequestError(400, message, param=field[1] if field else None) from None
    if not isinstance(fields, dict):
        raise RequestError(400, "the body: must be a JSON object")
    if issubclass(kind, TextsRequest):
        fields = _without_unused(fields, kind.unused)
    try:
        wanted = kind.model_validate(fields)
    except ValidationError as error:
        message = escape_controls(explain(error, kind))[:500]
        place = error.errors(include_url=False)[0]["loc"]  # of a problem with several fields: ()
        param = str(place[0])[:100] if place else message.partition(":")[0]
        raise RequestError(400, message, param=param) from None
    if isinstance(wanted, CompletionRequest | ChatRequest):
        _check_size(wanted)
    return wanted


def _check_size(wanted: CompletionRequest | ChatRequest) -> None:
    """Refuse a request for more than a server answers for one request; raises RequestError."""
    texts = wanted.n * len(wanted.prompts)
    read = sum(map(len, wanted.prompts))
    tokens = texts * wanted.length
    reported = tokens + (wanted.n * read if wanted.echo else 0)
    logprobs = 0 if wanted.logprobs is None else reported * max(1, wanted.logprobs)
    prompt = "prompt" if isinstance(wanted, CompletionRequest) else "messages"
    for param, found, most, what in (
        (prompt, read, MAX_PROMPT_CHARACTERS, "characters to read"),
        ("n", texts, MAX_TEXTS, "texts"),
        ("max_tokens", tokens, MAX_TOKENS, "characters to generate, over all texts"),
        (
            "echo",
            reported,
            MAX_PROMPT_CHARACTERS + MAX_TOKENS,
            "characters to answer with, over all texts",
        ),
        ("logprobs", logprobs, MAX_LOGPROBS, "log-probabilities, over all texts"),
    ):
        if found > most:
            raise RequestError(
                400, f"{param}: {found:,} {what}; must be {most:,} at most", param=param
            )


def _without_nulls(value: Any) -> Any:
    """Return a JSON value without the fields that are null."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _without_unused(
    fields: dict[str, Any], unused: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Drop unsupported fields that are not used; raise RequestError for one that is."""
    kept = dict(fields)
    for name in fields.keys() & unused.keys():
        value = kept.pop(name)
        allowed = (*unused[name], fields.get("n")) if name == "best_of" else unused[name]
        if value not in allowed:
            expected = " or ".join(json.dumps(each) for each in unused[name])
            problem = (
                f"found {json.dumps(value)[:100]}; must be {expected}: charlm does not support it"
            )
            raise RequestError(400, escape_controls(f"{name}: {problem}"), param=name)
    return kept
