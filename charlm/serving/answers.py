"""Pieces of text -> the objects of the OpenAI API."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from charlm.serving.writing import Piece

DONE = b"data: [DONE]\n\n"
"""The end of a stream of events."""


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

    def whole(self, texts: Sequence[Sequence[Piece]], usage: Mapping[str, int]) -> dict[str, Any]:
        """Return the answer that holds the pieces of all texts."""
        choices = [self._choice(index, _join(pieces)) for index, pieces in enumerate(texts)]
        name = "text_completion" if self.kind == "completion" else "chat.completion"
        return {**self._head(name), "choices": choices, "usage": usage}

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
        return self._event({"index": index, "delta": delta, "logprobs": None, "finish_reason": piece.finish_reason})

    def closing_events(self, usage: Mapping[str, int]) -> bytes:
        """Return the events with which a streamed answer ends: the usage, if it is wanted, and [DONE]."""
        if not self.includes_usage:
            return DONE
        return to_event({**self._head(self._event_name), "choices": [], "usage": usage}) + DONE

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
        logprobs = None
        if self.has_logprobs:
            logprobs = {
                "tokens": [token.text for token in piece.tokens],
                "token_logprobs": [token.logprob for token in piece.tokens],
                "top_logprobs": [token.likeliest or None for token in piece.tokens],
            }
        return {"index": index, "text": piece.text, "logprobs": logprobs, "finish_reason": piece.finish_reason}


def to_json(content: Any) -> bytes:
    """Return a value as JSON, in ASCII: a message may quote an unpaired surrogate."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def to_event(content: Mapping[str, Any]) -> bytes:
    """Return a server-sent event with a JSON object."""
    return b"data: " + to_json(content) + b"\n\n"


def _join(pieces: Sequence[Piece]) -> Piece:
    """Return the whole text of an answer; its last piece says why it ended."""
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Piece("".join(piece.text for piece in pieces), tokens, pieces[-1].finish_reason)
