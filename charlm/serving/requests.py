"""The bodies of requests -> what is asked for. What is not supported is refused by name; nothing is ignored.

The fields are those of the OpenAI API, plus top_k and min_p. A field that is not supported may have the
value that asks for nothing, since some clients always send it. What a request means is left to `charlm.serving.jobs`.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from charlm.errors import nearest, requirement, short_repr
from charlm.sampling.batch import MAX_LIKELIEST

MAX_CHOICES = 128
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 1000
MAX_SEED = 2**63 - 1
MAX_DIGITS = 100
"""Of a whole number; Python reads a few thousand, and says so in words of its own."""


@dataclass(frozen=True)
class ServerLimits:
    """The bounds of a server; all of them are 1 or more, `waiting` 0 or more."""

    slots: int = 64
    """Texts that are written at once, by each model."""
    waiting: int = 256
    """Texts that wait for a slot; further requests get 503."""
    prompt_characters: int = 65_536
    """Characters of a prompt."""
    tokens: int = 4096
    """Characters that a request may ask for, per text."""
    answer_values: int = 1 << 20
    """Values in an answer: its characters, and the log-probabilities of each."""
    seconds: float = 300.0
    """How long a request may take, from the moment that its body was read."""
    body_bytes: int = 1 << 20
    """The size of a body."""
    read_seconds: float = 10.0
    """How long the head of a request may take to arrive, and as long again its body."""
    write_seconds: float = 30.0
    """How long a client may leave a part of an answer unread."""


class RequestError(Exception):
    """A request is refused.

    Args:
        status: The HTTP status, 400 to 599.
        message: One line: what was found, and what would do.
        param: The field of the request that is wrong, or None.
        code: A word for programs, or None.

    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def to_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def _check_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has an unpaired surrogate, which is not a character") from None
    return text


Text = Annotated[str, AfterValidator(_check_text)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS), AfterValidator(_check_text)]


def _to_list(value: Any) -> Any:
    """Return a text as a list of one; the other values are left as they are."""
    return [value] if isinstance(value, str) else value


def _refuse_unless(*neutral: Any) -> AfterValidator:
    def check(value: Any) -> Any:
        """Refuse every value that would ask for something."""
        if value not in neutral:
            raise ValueError(f"is not supported by charlm; leave it out, or set it to {json.dumps(neutral[0])}")
        return value

    return AfterValidator(check)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class StreamOptions(_Strict):
    """How a streamed answer ends."""

    include_usage: bool = False
    include_obfuscation: Annotated[Any, _refuse_unless(False)] = None


class Sampling(_Strict):
    """The fields that both kinds of requests have."""

    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=1, le=MAX_SEED)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    stop: Annotated[list[Stop], BeforeValidator(_to_list), Field(max_length=MAX_STOPS)] = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    """A name for the caller's own use; it has no effect on a text in the OpenAI API either, like the next two."""
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    frequency_penalty: Annotated[Any, _refuse_unless(0)] = None
    presence_penalty: Annotated[Any, _refuse_unless(0)] = None
    logit_bias: Annotated[Any, _refuse_unless({})] = None
    store: Annotated[Any, _refuse_unless(False)] = None
    metadata: Annotated[Any, _refuse_unless({})] = None
    service_tier: Annotated[Any, _refuse_unless("auto", "default")] = None


class CompletionRequest(Sampling):
    """The body of POST /v1/completions."""

    prompt: Annotated[list[Text], BeforeValidator(_to_list), Field(min_length=1)] = [""]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    echo: Annotated[Any, _refuse_unless(False)] = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LIKELIEST)] | None = None
    best_of: Annotated[Any, _refuse_unless(1)] = None
    suffix: Annotated[Any, _refuse_unless("")] = None


class TextPart(_Strict):
    """A part of a message; the only kind is text."""

    type: Literal["text"]
    text: Text


class Message(_Strict):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]
    refusal: Annotated[Any, _refuse_unless("")] = None
    """Of an answer of this API, which a client sends back with its next turn; so are the next two."""
    tool_calls: Annotated[Any, _refuse_unless([])] = None
    annotations: Annotated[Any, _refuse_unless([])] = None

    @property
    def text(self) -> str:
        """The text of the message."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(Sampling):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[Any, _refuse_unless(False)] = None
    top_logprobs: Annotated[Any, _refuse_unless(0)] = None
    tools: Annotated[Any, _refuse_unless([])] = None
    tool_choice: Annotated[Any, _refuse_unless("none", "auto")] = None
    parallel_tool_calls: bool | None = None
    """Has no effect without tools."""
    response_format: Annotated[Any, _refuse_unless({"type": "text"})] = None
    modalities: Annotated[Any, _refuse_unless(["text"])] = None
    reasoning_effort: Annotated[Any, _refuse_unless("none")] = None

    @property
    def prompt(self) -> str:
        """The texts of the messages, a line each: a network of characters knows no roles."""
        return "\n".join(message.text for message in self.messages)


Body = TypeVar("Body", bound=_Strict)


def parse_request(kind: type[Body], body: bytes) -> Body:
    """Return the request in a body.

    A field that is null is taken as left out, wherever it is and whatever its name: it asks for nothing.

    Args:
        kind: CompletionRequest or ChatRequest.
        body: JSON in UTF-8.

    Raises:
        RequestError: with status 400; the body is not JSON, or a field is unknown, not supported or out of range.

    """
    try:
        fields = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, parse_int=_parse_int, object_hook=_without_nulls
        )
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(fields, dict):
        raise RequestError(400, f"the body is {type(fields).__name__}; must be a JSON object")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise _first_error(error, kind) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise RequestError(400, f"the body has a number of {len(digits):,} digits; must have {MAX_DIGITS} at most")
    return int(digits)


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _first_error(error: ValidationError, kind: type[_Strict]) -> RequestError:
    """Return the refusal for the first of the mistakes in a request."""
    details = error.errors(include_url=False)[0]
    path = [str(part) for part in details["loc"]]
    param = ".".join(part for part in path if part.isdigit() or (part.isidentifier() and part.islower()))
    message = f"{param or 'the body'}: {_explain(details, kind)}"
    return RequestError(400, message[:500], param=path[0] if path else None)


def _explain(details: ErrorDetails, kind: type[_Strict]) -> str:
    if details["type"] == "extra_forbidden":
        near = nearest(str(details["loc"][-1]), kind.model_fields)
        return "is not supported by charlm" + (f"; did you mean {near}?" if near else "")
    if details["type"] == "missing":
        return requirement(details)
    found = "" if details["type"] == "value_error" else f"found {short_repr(details['input'])}; "
    return f"{found}{requirement(details)}"
