"""Parse the bodies of requests: fields of the OpenAI API, and the filters of `charlm sample`.

Unsupported fields are accepted if their value has no effect, and otherwise refused by name.
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

MAX_TEXTS = 128
"""Maximum number of texts in an answer, over all prompts."""
MAX_PROMPT_CHARACTERS = 65_536
"""Maximum number of characters in all prompts of a request."""
MAX_TOKENS = 65_536
"""Maximum number of characters (tokens) to generate, over all texts of an answer."""
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 1000
MAX_LIKELIEST = 20
MAX_LOGPROBS = 131_072
"""Maximum number of log-probabilities in an answer; that many need about 20 MB."""
MAX_SEED = 2**63 - 1
COMPLETION_TOKENS = 16
"""Default length of a text in characters, as in the OpenAI API."""
CHAT_TOKENS = 256
"""Default length of a text in a chat."""
UNUSED: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "best_of": (1,),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""Unsupported fields of the OpenAI API, with the values that have no effect."""
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
"""Unsupported fields in a chat, with the values that have no effect."""


class RequestError(Exception):
    """A request is refused.

    Args:
        status: HTTP status, 400 to 599.
        message: Message in one line: the value found, and the value expected.
        param: Name of the wrong field, or None.
        code: Error code for programs, or None.

    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


def _check_text(text: str) -> str:
    """Return a text in normal form NFC, which can be longer."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has an unpaired surrogate, which is not a character") from None
    if has_too_many_marks(text):
        raise ValueError(f"has more than {MAX_MARKS:,} combining marks in a row")
    return unicodedata.normalize("NFC", text)


def _to_list(value: Any) -> Any:
    """Return a list unchanged, and a string as a list of one item."""
    if not isinstance(value, str | list):
        raise ValueError("must be a valid string or list")
    return [value] if isinstance(value, str) else value


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _to_prompts(value: Any) -> Any:
    """Return a list of prompts, given one or several."""
    return [value] if value and _is_ids(value) else _to_list(value)


def _check_prompt(value: Any) -> Any:
    """Return a prompt, a string or a list of ids; the range of ids depends on the model."""
    if isinstance(value, str):
        return _check_text(value)
    if not _is_ids(value):
        raise ValueError("must be a string or a list of ids")
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
    """Fields of completions and chats."""

    unused: ClassVar[Mapping[str, tuple[Any, ...]]] = UNUSED
    """Unsupported fields, with the values that have no effect."""

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
    """Name for the caller's own use. This field and the next three have no effect."""
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] = {}

    @property
    def sampler(self) -> Sampler:
        """Sampler with these filters and this temperature."""
        return Sampler.of(self, temperature=self.temperature)


class CompletionRequest(TextsRequest):
    """The body of POST /v1/completions."""

    prompt: Annotated[
        list[Prompt],
        Field(min_length=1, max_length=MAX_TEXTS),
        FailFast(),
        BeforeValidator(_to_prompts),
    ] = [""]
    """Texts to continue, or their ids."""
    max_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] = COMPLETION_TOKENS
    logprobs: Annotated[int, Field(ge=0, le=MAX_LIKELIEST)] | None = None
    """Number of most likely tokens to report for each token; None = no log-probabilities."""
    echo: bool = False
    """Whether the answer starts with the prompt and its log-probabilities."""

    @model_validator(mode="after")
    def _check_max_tokens(self) -> "CompletionRequest":
        if not self.max_tokens and not self.echo:
            raise ValueError("max_tokens: found 0; must be 1 or more, or 0 with echo")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """Texts to continue, or their ids."""
        return self.prompt

    @property
    def length(self) -> int:
        """Maximum length of each text."""
        return self.max_tokens


class TextPart(_Strict):
    """Part of a message; only text is supported."""

    type: Literal["text"]
    text: Text


class Message(_Strict):
    """Message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        list[TextPart], Field(max_length=1024), FailFast(), BeforeValidator(_to_parts)
    ]
    name: str | None = None
    """Name of the participant, without effect."""
    annotations: Annotated[list[Any], Field(max_length=0)] = []
    """Empty list; clients return messages of earlier answers, which have this field."""


class ChatRequest(TextsRequest):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024), FailFast()]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = CHAT_TOKENS
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None

    unused: ClassVar[Mapping[str, tuple[Any, ...]]] = UNUSED_IN_CHAT
    logprobs: ClassVar[None] = None
    """Always None, because log-probabilities are not supported in a chat."""
    echo: ClassVar[bool] = False

    @property
    def prompts(self) -> list[str | list[int]]:
        """Prompt with the text of each message on a line, without roles."""
        lines = ["".join(part.text for part in message.content) for message in self.messages]
        return ["\n".join(lines)]

    @property
    def length(self) -> int:
        """Maximum length of each text."""
        return self.max_completion_tokens or self.max_tokens


class TokenizeRequest(_Strict):
    """The body of POST /tokenize, as in vLLM."""

    model: str | None = None
    prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)]
    add_special_tokens: bool = False
    """Flag without effect, because charlm adds no special tokens."""


class DetokenizeRequest(_Strict):
    """The body of POST /detokenize, as in vLLM."""

    model: str | None = None
    tokens: Annotated[list[int], Field(max_length=MAX_PROMPT_CHARACTERS), FailFast()]


Body = TypeVar("Body", CompletionRequest, ChatRequest, TokenizeRequest, DetokenizeRequest)


def parse_request(kind: type[Body], body: bytes) -> Body:
    """Return the request in a body; a null field has its default.

    Args:
        kind: Class of the request.
        body: JSON in UTF-8.

    Raises:
        RequestError: The body is not JSON, a field is unknown or invalid, or the answer would be
            too large; status 400.

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
        request = kind.model_validate(fields)
    except ValidationError as error:
        message = escape_controls(explain(error.errors()[0], kind))[:500]
        path = error.errors(include_url=False)[0]["loc"]  # empty if several fields are wrong
        param = str(path[0])[:100] if path else message.partition(":")[0]
        raise RequestError(400, message, param=param) from None
    if isinstance(request, CompletionRequest | ChatRequest):
        _check_size(request)
    return request


def _check_size(request: CompletionRequest | ChatRequest) -> None:
    """Raise RequestError if the answer would be too large."""
    texts = request.n * len(request.prompts)
    read = sum(map(len, request.prompts))
    tokens = texts * request.length
    reported = tokens + (request.n * read if request.echo else 0)
    logprobs = 0 if request.logprobs is None else reported * max(1, request.logprobs)
    prompt = "prompt" if isinstance(request, CompletionRequest) else "messages"
    most_reported = MAX_PROMPT_CHARACTERS + MAX_TOKENS
    for param, number, most, unit in (
        (prompt, read, MAX_PROMPT_CHARACTERS, "characters to read"),
        ("n", texts, MAX_TEXTS, "texts"),
        ("max_tokens", tokens, MAX_TOKENS, "characters to generate, over all texts"),
        ("echo", reported, most_reported, "characters to answer with, over all texts"),
        ("logprobs", logprobs, MAX_LOGPROBS, "log-probabilities, over all texts"),
    ):
        if number > most:
            message = f"{param}: {number:,} {unit}; must be at most {most:,}"
            raise RequestError(400, message, param=param)


def _without_nulls(value: Any) -> Any:
    """Return a JSON value without null fields."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _without_unused(
    fields: dict[str, Any], unused: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Return the supported fields; raise RequestError if an unsupported field has an effect."""
    supported = dict(fields)
    for name in fields.keys() & unused.keys():
        value = supported.pop(name)
        is_default = name == "best_of" and value == fields.get("n")
        if value not in unused[name] and not is_default:
            expected = " or ".join(json.dumps(item) for item in unused[name])
            shown = json.dumps(value)[:100]
            message = f"{name}: found {shown}; charlm supports only {expected}"
            raise RequestError(400, escape_controls(message), param=name)
    return supported
