"""Public texts that character models are measured on: what they are, where to get them, and how to check them.

Fetching them is left to `charlm.api.download`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class PublicText:
    """A text that anyone may download."""

    about: str
    """What it is, in a few words."""
    bytes: int
    """Its exact size."""
    mirrors: tuple[str, ...]
    """Addresses of the text, which are tried in order; .zip and .gz hold it compressed."""
    sha256: str | None = None
    """Of the text; None if nobody has computed it from a copy that is known to be good."""


_CANTERBURY_MIRRORS = (f"{_GITHUB}/google/brotli/master/tests/testdata", f"{_GITHUB}/google/snappy/main/testdata")
"""Two compression libraries that keep texts of the Canterbury corpus among their test data."""
_CANTERBURY = {
    "alice29": (
        "Alice's Adventures in Wonderland",
        152_089,
        "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0",
    ),
    "asyoulik": ("As You Like It", 125_179, "eaa3526fe53859f34ecdf255712f9ecf0b2c903451d4755b2edaa2e2599cb0fc"),
    "lcet10": (
        "a workshop on electronic texts",
        426_754,
        "5314ba1dbb03f471df88bec6cd120a938ef60d0fd3511c5c1dce61bf7463245f",
    ),
    "plrabn12": ("Paradise Lost", 481_861, "07e2e0b461af78c7c647cb53dab39de560198e16f799b4516eccf0fbd69f764c"),
}
"""Its English texts: what each is, its size and its SHA-256."""

PUBLIC_TEXTS: Mapping[str, PublicText] = {
    "tinyshakespeare": PublicText(
        "excerpts of Shakespeare's plays",
        1_115_394,
        (
            f"{_GITHUB}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            "https://storage.googleapis.com/download.tensorflow.org/data/shakespeare.txt",
        ),
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "text8": PublicText(
        "Wikipedia, letters a to z alone",
        100_000_000,
        ("https://mattmahoney.net/dc/text8.zip", "https://data.deepai.org/text8.zip"),
    ),
    "enwik8": PublicText(
        "Wikipedia with its markup",
        100_000_000,
        ("https://mattmahoney.net/dc/enwik8.zip", "https://data.deepai.org/enwik8.zip"),
    ),
    **{
        name: PublicText(about, size, tuple(f"{mirror}/{name}.txt" for mirror in _CANTERBURY_MIRRORS), sha256)
        for name, (about, size, sha256) in _CANTERBURY.items()
    },
}
