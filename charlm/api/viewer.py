"""The viewer of a text coloured by surprise, and how any text becomes part of a page.

viewer.css and viewer.js belong to the report, to notebooks and to exported pages.

Functions take text and return HTML in which the text is escaped. Any text may be untrusted: nothing
in it may act on a page, neither as markup nor by reversing the direction of writing.

Axes: T characters.
"""

import base64
import bisect
import hashlib
import html
import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charlm.wording import escape_controls

SYMBOLS = {
    " ": "\N{OPEN BOX}",
    "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
    "\t": "\N{RIGHTWARDS ARROW}",
}
"""Labels of invisible characters."""
CIRCLE = "\N{DOTTED CIRCLE}"
RESERVED = "\N{WHITE SQUARE}"
"""Label of a reserved id."""
SURPRISE_NATS = (0.7, 1.6, 3, 5)
"""Limits of the colours l1 to l4, as in viewer.js: probabilities of 50%, 20%, 5% and 0.7%."""
LEVELS = len(SURPRISE_NATS)
"""Number of colours, not counting "no colour"."""
VIEWER_STYLE = Path(__file__).with_name("viewer.css").read_text(encoding="utf-8")
VIEWER_SCRIPT = Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")


def visible(character: str | None) -> str:
    r"""Return a visible label for a character.

    Args:
        character: One character; None for a reserved id.

    Returns:
        A symbol for a space, a line break and a tab; a dotted circle under a combining mark; an
        escape such as \x1b for a character that does not print; otherwise the character.

    """
    if character is None:
        return RESERVED
    if character in SYMBOLS:
        return SYMBOLS[character]
    category = unicodedata.category(character)[0]
    if category in "CZ":  # controls, formats, surrogates, private, unassigned; separators
        return ascii(character)[1:-1]
    return CIRCLE + character if category == "M" else character


def safe(text: object) -> str:
    """Return a text for a page: markup, quotes and control characters are escaped."""
    return html.escape(escape_controls(str(text), keep="\n"))


def script_json(value: Any) -> str:
    """Return plain data as JSON for a <script> element; no text in the data can end it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def content_policy(style: str, *scripts: str) -> str:
    """Return a content policy that allows only the given style and scripts, by their hashes."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (style, *scripts))
    styles, *hashes = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; style-src {styles}; script-src {' '.join(hashes)}; img-src data:; "
        f"base-uri 'none'; form-action 'none'"
    )


def coloured_text(characters: Iterable[str | None], nats: Iterable[float | None]) -> str:
    """Return a text coloured by surprise: an element per character, with the nats as its title.

    Args:
        characters: [T]; None for a reserved id.
        nats: The surprise of each character, [T]; None if it was not scored.

    """
    return "".join(map(_coloured, characters, nats))


def _coloured(character: str | None, nats: float | None) -> str:
    if nats is None:
        return f'<span title="not scored">{_shape(character)}</span>'
    level = bisect.bisect_right(SURPRISE_NATS, nats)
    style = f' class="l{level}"' if level else ""
    return f'<span{style} title="{nats:.2f} nats">{_shape(character)}</span>'


def _shape(character: str | None) -> str:
    """Return the HTML in the element of a character; spaces, line breaks and tabs take effect."""
    if character == " ":
        return " "
    label = visible(character)
    if label == character:
        return safe(label)
    effect = character if character in ("\n", "\t") else ""
    return f"<i>{safe(label)}</i>{effect}"
