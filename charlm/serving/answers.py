"""Pieces of text -> the objects of the OpenAI API."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from charlm.serving.text import FinishReason, Piece, Token

DONE = b"data: [DONE]\n\n"
"""The end of a stream of events."""


@dataclass(frozen=True)
class Usage:
    """What is counted in an answer: ids, that is characters, or bytes at level byte."""

    prompt: int
    generated: int

    def to_json(self) -> dict[str, int]:
        """Return the object `usage`."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt + self.generated,
        }


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

    def whole(self, texts: Sequence[Sequence[Piece]], usage: Usage) -> Iterator[bytes]:
        """Yield the answer that holds the pieces of all texts, as JSON in parts, one for each text."""
        name = "text_completion" if self.kind == "completion" else "chat.completion"
        yield _dump(self._head(name))[:-1] + b',"choices":['
        for index, pieces in enumerate(texts):
            yield (b"," if index else b"") + _dump(self._choice(index, _join(pieces)))
        yield b'],"usage":' + _dump(usage.to_json()) + b"}"

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

    def usage_event(self, usage: Usage) -> bytes:
        """Return the event with the usage, or nothing if it is not wanted."""
        if not self.includes_usage:
            return b""
        return to_event({**self._head(self._event_name), "choices": [], "usage": usage.to_json()})

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
        logprobs = legacy_logprobs(piece.tokens) if self.has_logprobs else None
        return {"index": index, "text": piece.text, "logprobs": logprobs, "finish_reason": piece.finish_reason}


def legacy_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """Return the object `logprobs` of a completion."""
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [token.likeliest for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def to_event(content: Mapping[str, Any]) -> bytes:
    """Return a server-sent event with a JSON object."""
    return b"data: " + _dump(content) + b"\n\n"


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _join(pieces: Sequence[Piece]) -> Piece:
    reasons: list[FinishReason] = [piece.finish_reason for piece in pieces if piece.finish_reason is not None]
    return Piece(
        "".join(piece.text for piece in pieces),
        tuple(token for piece in pieces for token in piece.tokens),
        reasons[-1] if reasons else None,
    )
