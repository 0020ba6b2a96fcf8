"""Verbatim overlap of a text with the training text, by the windows that both contain."""

from collections.abc import Iterator
from dataclasses import dataclass

MIN_SPAN = 20
"""Length of the shortest span that counts as copied; texts of one language share shorter spans."""
MAX_EXAMPLE = 100
"""Maximum length of the example of a copied span."""


@dataclass(frozen=True)
class Copies:
    """The overlap of a text with the training text."""

    share: float
    """Share of the characters that are in a copied span of at least MIN_SPAN characters, 0 to 1."""
    example: str
    """Beginning of the longest row of copied characters; "" if nothing is copied."""


def find_copies(text: str, training: str, *, min_span: int = MIN_SPAN) -> Copies:
    """Find the spans of a text that occur in the training text.

    Args:
        text: The text.
        training: The training text.
        min_span: Length of the shortest span that counts as copied, 1 or more.

    """
    windows = {*_windows(text, min_span)}
    common = windows.intersection(_windows(training, min_span))
    copied = bytearray(len(text))
    for start, window in enumerate(_windows(text, min_span)):
        if window in common:
            copied[start : start + min_span] = b"x" * min_span
    if not common:
        return Copies(0.0, "")
    longest = max(copied.split(b"\0"), key=len)
    start = copied.find(longest)
    length = min(len(longest), MAX_EXAMPLE)
    return Copies(copied.count(b"x") / len(text), text[start : start + length])


def _windows(text: str, size: int) -> Iterator[str]:
    """Yield every window of `size` characters, in order."""
    return (text[start : start + size] for start in range(len(text) - size + 1))
