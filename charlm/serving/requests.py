"""The bodies of requests -> what is asked for. What is not supported is refused by name; nothing is ignored.

The fields are those of the OpenAI API, and the filters of `charlm sample`.
"""

import json
import re
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from charlm.config.file import explain
from charlm.config.schema import Filters
from charlm.sampling.sampler import Sampler
from charlm.text.vocabulary import MAX_MARKS, has_too_many_marks
from charlm.wording import escape_controls

MAX_BODY_BYTES = 1 << 20
MAX_TEXTS = 128
"""Of a request, over all its prompts."""
MAX_PROMPT_CHARACTERS = 65_536
"""Over all prompts of a request."""
MAX_TOKENS = 65_536
"""Over all texts of a request; a token is a character."""
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 1000
MAX_LIKELIEST = 20
MAX_SEED = 2**63 - 1
COMPLETION_TOKENS, CHAT_TOKENS = 16, 256
"""How many characters a text gets that names no number; 16 is what the OpenAI API says."""


class RequestError(Exception):
    """A request is refused.

    Args:
        status: The HTTP status, 400 to 599.
        message: One line: what was found, and what would do.
        param: The field of the request that is wrong, or None.
        code: A word for programs, or None.

    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


def _check_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has an unpaired surrogate, which is not a character") from None
    if has_too_many_marks(text):
        raise ValueError(f"has more than {MAX_MARKS:,} combining marks in a row")
    return text


def _to_list(value: Any) -> Any:
    """Return a text as a list of one, a list as it is."""
    if not isinstance(value, str | list):
        raise ValueError("must be a valid string or list")
    return [value] if isinstance(value, str) else value


def _to_parts(value: Any) -> Any:
    """Return the content of a message as a list of parts."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else _to_list(value)


Text = Annotated[str, AfterValidator(_check_text)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS), AfterValidator(_check_text)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class StreamOptions(_Strict):
    """How a streamed answer ends."""

    include_usage: bool = False


class TextsRequest(_Strict, Filters):
    """The fields that both kinds of requests have."""

    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    n: Annotated[int, Field(ge=1, le=MAX_TEXTS)] = 1
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    stop: Annotated[list[Stop], Field(max_length=MAX_STOPS), BeforeValidator(_to_list)] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    user: str | None = None
    """A name for the caller's own use; it has no effect on a text in the OpenAI API either."""

    @property
    def sampler(self) -> Sampler:
        """How each character is chosen."""
        return Sampler.of(self, temperature=self.temperature)


class CompletionRequest(TextsRequest):
    """The body of POST /v1/completions."""

    prompt: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS), BeforeValidator(_to_list)] = [""]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = COMPLETION_TOKENS
    logprobs: Annotated[int, Field(ge=0, le=MAX_LIKELIEST)] | None = None
    """How many of the likeliest tokens to report beside the log-probability of each; None = neither."""

    @property
    def prompts(self) -> list[str]:
        """The texts to continue."""
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
    content: Annotated[list[TextPart], Field(max_length=1024), BeforeValidator(_to_parts)]


class ChatRequest(TextsRequest):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = CHAT_TOKENS
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None

    logprobs: ClassVar[None] = None
    """They have another form in a chat, which is not supported."""

    @property
    def prompts(self) -> list[str]:
        """The texts of the messages, a line each: a network of characters knows no roles."""
        return ["\n".join("".join(part.text for part in message.content) for message in self.messages)]

    @property
    def length(self) -> int:
        """The most characters of each text."""
        return self.max_completion_tokens or self.max_tokens


Body = TypeVar("Body", CompletionRequest, ChatRequest)


def parse_request(kind: type[Body], body: bytes) -> Body:
    """Return the request in a body; a field that is null is taken as left out.

    Args:
        kind: CompletionRequest or ChatRequest.
        body: JSON in UTF-8.

    Raises:
        RequestError: with status 400; the body is not JSON, a field is unknown or out of range, or more is asked for
            than a server writes for one request.

    """
    try:
        fields = json.loads(body.decode("utf-8"), object_hook=_without_nulls)
        if not isinstance(fields, dict):
            raise RequestError(400, "the body: must be a JSON object")
        wanted = kind.model_validate(fields)
    except ValidationError as error:
        message = escape_controls(explain(error, kind))[:500]
        raise RequestError(400, message, param=re.split("[.:]", message)[0]) from None
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {str(error)[:200]}") from None
    texts = wanted.n * len(wanted.prompts)
    read, texts_of = sum(map(len, wanted.prompts)), "prompt" if kind is CompletionRequest else "messages"
    for param, found, most, what in (
        (texts_of, read, MAX_PROMPT_CHARACTERS, "characters to read"),
        ("n", texts, MAX_TEXTS, "texts"),
        ("max_tokens", texts * wanted.length, MAX_TOKENS, "characters to write, over all texts"),
    ):
        if found > most:
            raise RequestError(400, f"{param}: {found:,} {what}; must be {most:,} at most", param=param)
    return wanted


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
