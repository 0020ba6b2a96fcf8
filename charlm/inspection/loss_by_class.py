"""Where the loss is: by the kind of character, by the place in the word, and by the place in the line.

The mean of a table weighted by its counts is the mean over the text.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassLoss:
    """The loss on the characters of one class."""

    name: str
    characters: int
    """How many scored characters the class has, 1 or more."""
    nats_per_char: float
    ngram_nats_per_char: float | None
    """The same for the n-gram model; None if there is none."""
    share_of_loss: float
    """The nats of the class as a share of all nats, from 0 to 1."""


@dataclass(frozen=True)
class LossByClass:
    """The loss on a text, divided in three ways."""

    characters: int
    """How many characters were scored."""
    nats_per_char: float
    ngram_order: int | None
    """The order of the n-gram model; None if there is none."""
    ngram_nats_per_char: float | None
    by_class: tuple[ClassLoss, ...]
    """By what the character is: lower case, upper case, ..."""
    by_word_place: tuple[ClassLoss, ...]
    """By the number of the letter in its word."""
    by_line_place: tuple[ClassLoss, ...]
    """By the number of the character in its line."""
