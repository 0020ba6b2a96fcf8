"""The ids of a job -> pieces of text, with stop texts and log-probabilities -> the objects of the OpenAI API."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from charlm.sampling.batch import Chunk
from charlm.sampling.growing import GrowingText
from charlm.text.vocabulary import Vocabulary

FinishReason = Literal["stop", "length"]
END_OF_TEXT = "<|endoftext|>"
"""What an end-of-text id is called among the likeliest tokens; it has no text."""
UNKNOWN = "<|unknown|>"
"""What the unknown id is called there; U+FFFD may be a character of the text."""
DONE = b"data: [DONE]\n\n"
"""The end of a stream of events."""


@dataclass(frozen=True)
class Token:
    """An id in the legacy form of log-probabilities."""

    text: str
    """The character."""
    logprob: float
    """log p given the ids before it."""
    likeliest: Mapping[str, float] | None
    """The likeliest tokens in its place, and the token itself; None = not wanted."""


@dataclass(frozen=True)
class Piece:
    """The next part of a text."""

    text: str
    tokens: tuple[Token, ...] = ()
    finish_reason: FinishReason | None = None


class AnswerText:
    """The text of a job, of which a piece becomes certain with each chunk, with the tokens of the piece.

    Args:
        vocabulary: The characters by id.
        stops: The texts before the first of which the text ends.

    """

    def __init__(self, vocabulary: Vocabulary, *, stops: Sequence[str] = ()) -> None:
        self._vocabulary, self._text = vocabulary, GrowingText(vocabulary, stops=stops)
        self._tokens: list[Token] = []

    @property
    def generated(self) -> int:
        """How many ids were chosen, up to the end of the stop text."""
        return self._text.chosen

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the text has ended; None as long as it can go on."""
        stopped_by = self._text.stopped_by
        return stopped_by and ("length" if stopped_by == "length" else "stop")

    def read(self, chunk: Chunk) -> Piece:
        """Return what has become certain; after the text has ended, nothing more does."""
        if self.finish_reason is not None:
            return Piece("")
        self._tokens += self._read_tokens(chunk)
        text = self._text.read(chunk.ids.tolist(), is_last=chunk.reason is not None)
        certain = len(text)
        tokens, self._tokens = self._tokens[:certain], self._tokens[certain:]
        return Piece(text, tuple(tokens), self.finish_reason)

    def _read_tokens(self, chunk: Chunk) -> Iterator[Token]:
        if chunk.logprobs is None or chunk.likeliest_ids is None or chunk.likeliest_logprobs is None:
            return
        rows = zip(chunk.ids, chunk.logprobs.tolist(), chunk.likeliest_ids, chunk.likeliest_logprobs, strict=True)
        for index, logprob, ids, logprobs in rows:
            name = token_text(self._vocabulary, index)
            likeliest = {token_text(self._vocabulary, i): p for i, p in zip(ids, logprobs.tolist(), strict=True)}
            yield Token(name, logprob, {**likeliest, name: logprob} if likeliest else None)


def token_text(vocabulary: Vocabulary, index: int) -> str:
    """Return what an id is called among tokens."""
    if index == vocabulary.end_of_text_id:
        return END_OF_TEXT
    if index == vocabulary.unknown_id:
        return UNKNOWN
    return vocabulary.glyphs[index]


@dataclass(frozen=True)
class AnswerForm:
    """How an answer is written: what all its objects have in common."""

    kind: Literal["completion", "chat"]
    model: str
    has_logprobs: bool = False
    includes_usage: bool = False
    """Whether a streamed answer ends with the usage."""
    answer_id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, texts: Sequence[Sequence[Piece]], usage: Mapping[str, int]) -> Iterator[bytes]:
        """Yield the answer that holds the pieces of all texts, as JSON in parts, one for each text."""
        name = "text_completion" if self.kind == "completion" else "chat.completion"
        yield _dump(self._head(name))[:-1] + b',"choices":['
        for index, pieces in enumerate(texts):
            yield (b"," if index else b"") + _dump(self._choice(index, _join(pieces)))
        yield b'],"usage":' + _dump(usage) + b"}"

    def opening_events(self, count: int) -> bytes:
        """Return the events with which a streamed answer of a number of texts begins: in a chat, the roles."""
        if self.kind == "completion":
            return b""
        deltas = [{"index": index, "delta": {"role": "assistant", "content": ""}} for index in range(count)]
        return b"".join(self._event({**delta, "logprobs": None, "finish_reason": None}) for delta in deltas)

    def event(self, index: int, piece: Piece) -> bytes:
        """Return the event that brings a piece of a text."""
        if self.kind == "completion":
            return self._event(self._choice(index, piece))
        delta = {"content": piece.text} if piece.text else {}
        return self._event(
            {"index": index, "delta": delta, "logprobs": None, "finish_reason": piece.finish_reason},
        )

    def usage_event(self, usage: Mapping[str, int]) -> bytes:
        """Return the event with the usage, or nothing if it is not wanted."""
        if not self.includes_usage:
            return b""
        return to_event({**self._head(self._event_name), "choices": [], "usage": usage})

    @property
    def _event_name(self) -> str:
        return "text_completion" if self.kind == "completion" else "chat.completion.chunk"

    def _head(self, name: str) -> dict[str, Any]:
        prefix = "cmpl" if self.kind == "completion" else "chatcmpl"
        return {"id": f"{prefix}-{self.answer_id}", "object": name, "created": self.created, "model": self.model}

    def _event(self, choice: Mapping[str, Any]) -> bytes:
        usage = {"usage": None} if self.includes_usage else {}
        return to_event({**self._head(self._event_name), "choices": [choice], **usage})

    def _choice(self, index: int, piece: Piece) -> dict[str, Any]:
        if self.kind == "chat":
            message = {"role": "assistant", "content": piece.text, "refusal": None}
            return {"index": index, "message": message, "logprobs": None, "finish_reason": piece.finish_reason}
        tokens, logprobs = piece.tokens, None
        if self.has_logprobs:
            logprobs = {
                "tokens": [token.text for token in tokens],
                "token_logprobs": [token.logprob for token in tokens],
                "top_logprobs": [token.likeliest for token in tokens],
            }
        return {"index": index, "text": piece.text, "logprobs": logprobs, "finish_reason": piece.finish_reason}


def to_event(content: Mapping[str, Any]) -> bytes:
    """Return a server-sent event with a JSON object."""
    return b"data: " + _dump(content) + b"\n\n"


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _join(pieces: Sequence[Piece]) -> Piece:
    """Return the whole text of an answer; its last piece says why it ended."""
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Piece("".join(piece.text for piece in pieces), tokens, pieces[-1].finish_reason)
