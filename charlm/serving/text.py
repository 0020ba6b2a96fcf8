"""The ids of a job -> the text of an answer, piece by piece, with its stop texts and its log-probabilities."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from charlm.sampling.batch import Chunk, EndReason, Job
from charlm.sampling.growing import StopTexts
from charlm.text.vocabulary import Vocabulary

FinishReason = Literal["stop", "length"]
END_OF_TEXT = "<|endoftext|>"
"""What an end-of-text id is called among tokens; it has no text."""
_FINISH_REASONS: Mapping[EndReason, FinishReason] = {"length": "length", "end of text": "stop"}


@dataclass(frozen=True)
class Token:
    """An id in the legacy form of log-probabilities."""

    text: str
    """The character; at level byte, bytes above 127 are written as bytes:\\xNN."""
    logprob: float | None
    """log p given the ids before it; None for the first of a text."""
    likeliest: Mapping[str, float] | None
    """The likeliest tokens in its place, and the token itself; None for the first of a text, or if not wanted."""
    offset: int
    """Where it begins in the prompt and the text, in characters."""


@dataclass(frozen=True)
class Piece:
    """The next part of an answer."""

    text: str
    tokens: tuple[Token, ...] = ()
    finish_reason: FinishReason | None = None


class GrowingText:
    """The text of a job, of which a piece becomes certain with each chunk.

    Characters that may be the beginning of a stop text are held back, and bytes that do not make a character yet.

    Args:
        vocabulary: The characters by id.
        job: What is written.
        stops: The texts before the first of which the text ends.
        prompt: The prompt as text.
        echo: Whether the text begins with the prompt.
        is_prompt_empty: Whether the ids of the job stand for an empty prompt; they are not among its tokens.

    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        job: Job,
        *,
        stops: Sequence[str] = (),
        prompt: str = "",
        echo: bool = False,
        is_prompt_empty: bool = False,
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.generated = 0
        """How many ids were chosen, up to the end of the stop text."""
        self._vocabulary, self._stops = vocabulary, StopTexts(stops)
        self._decoder = vocabulary.decoder()
        self._offsets = _Offsets(vocabulary, 0 if echo else len(prompt))
        self._unread_prompt = len(job.prompt_ids) if job.is_prompt_scored else 0
        self._hidden = self._unread_prompt if is_prompt_empty else 0
        self._certain = 0 if echo else len(prompt)  # how long the prompt and the certain text are
        self._is_stopped = False
        self._echo = prompt if echo else ""
        self._tokens: list[Token] = []

    def read(self, chunk: Chunk) -> Piece:
        """Return what has become certain; after the text has ended, nothing more does."""
        if self.finish_reason is not None:
            return Piece("")
        echo, self._echo = self._echo, ""
        if chunk.logprobs is not None:
            self._tokens += self._read_tokens(chunk)
        prompt_ids = min(self._unread_prompt, len(chunk.ids))
        self._unread_prompt -= prompt_ids
        ids = chunk.ids[prompt_ids:]
        has_end = chunk.reason == "end of text"
        self.generated += len(ids) - has_end
        if has_end:
            self._tokens = self._tokens[:-1]  # it has no text
        text = echo + self._until_stop(self._decoder.decode(ids, final=chunk.reason is not None), chunk.reason)
        self._certain += len(text)
        return Piece(text, tuple(self._take_tokens()), self.finish_reason)

    def cut(self) -> Piece:
        """End the text where it is, as if its length were reached, and return what was held back."""
        return self.read(Chunk(np.zeros(0, np.int64), reason="length"))

    def _until_stop(self, new: str, reason: EndReason | None) -> str:
        text, rest = self._stops.read(new, is_last=reason is not None)
        if rest is not None:
            self.finish_reason, self._is_stopped = "stop", True
            self.generated -= self._count_ids(rest)
        elif reason is not None:
            self.finish_reason = _FINISH_REASONS.get(reason, "stop")
        return text

    def _count_ids(self, text: str) -> int:
        return len(text) if self._vocabulary.level == "char" else len(text.encode("utf-8"))

    def _take_tokens(self) -> Iterator[Token]:
        """Yield the tokens of the text that is certain, and forget them; what follows a stop text never is."""
        is_whole = self.finish_reason is not None and not self._is_stopped
        count = sum(1 for token in self._tokens if is_whole or token.offset < self._certain)
        yield from self._tokens[:count]
        self._tokens = self._tokens[count:]

    def _read_tokens(self, chunk: Chunk) -> Iterator[Token]:
        assert chunk.logprobs is not None
        assert chunk.likeliest_ids is not None
        assert chunk.likeliest_logprobs is not None
        names = [token_text(self._vocabulary, index) for index in chunk.ids.tolist()]
        rows = zip(
            *(names, chunk.ids.tolist(), chunk.logprobs.tolist()),
            *(chunk.likeliest_ids.tolist(), chunk.likeliest_logprobs.tolist()),
            strict=True,
        )
        for name, index, logprob, ids, logprobs in rows:
            if self._hidden:
                self._hidden -= 1
                continue
            offset = self._offsets.read(index)
            if math.isnan(logprob):
                yield Token(name, None, None, offset)
                continue
            likeliest = {token_text(self._vocabulary, i): p for i, p in zip(ids, logprobs, strict=True)}
            yield Token(name, logprob, {**likeliest, name: logprob} if likeliest else None, offset)


def token_text(vocabulary: Vocabulary, index: int) -> str:
    """Return what an id is called among tokens."""
    if index == vocabulary.end_of_text_id:
        return END_OF_TEXT
    glyph = vocabulary.glyphs[index]
    return f"bytes:\\x{ord(glyph):02x}" if vocabulary.level == "byte" and not glyph.isascii() else glyph


class _Offsets:
    """Where ids begin in a text."""

    def __init__(self, vocabulary: Vocabulary, start: int) -> None:
        self._decoder, self._position = vocabulary.decoder(), start

    def read(self, index: int) -> int:
        """Return where the next id begins, in characters."""
        position = self._position
        self._position += len(self._decoder.decode(np.array([index])))
        return position
