"""What a server bounds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The bounds of a server; all of them are 1 or more, `waiting` 0 or more."""

    slots: int = 64
    """Texts that are written at once, by each model."""
    waiting: int = 256
    """Texts that wait for a slot; further requests get 503."""
    prompt_characters: int = 65_536
    """Characters of a prompt."""
    tokens: int = 4096
    """Characters that a request may ask for, per text."""
    seconds: float = 300.0
    """How long a request may take, from the moment that its body was read."""
    body_bytes: int = 1 << 20
    """The size of a body."""
    read_seconds: float = 10.0
    """How long the head of a request may take to arrive, and as long again its body."""
    write_seconds: float = 30.0
    """How long a client may leave a part of an answer unread."""
