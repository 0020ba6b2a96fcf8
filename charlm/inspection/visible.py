"""Characters as a reader can see and count them: blanks as signs, what does not print as an escape.

Every text in a report may come from a stranger. Nothing in it may act on the page, neither as HTML nor by turning the
direction of writing.
"""

import html
import unicodedata

from charlm.errors import harmless

SPACE, NEWLINE, TAB = "\N{OPEN BOX}", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\N{RIGHTWARDS ARROW}"
_SIGNS = {" ": SPACE, "\n": NEWLINE, "\t": TAB}
CIRCLE = "\N{DOTTED CIRCLE}"
RESERVED = "\N{WHITE SQUARE}"
"""A reserved id, which is no character."""


def visible(character: str | None) -> str:
    r"""Return a label for a character: one that has a shape and a width.

    Args:
        character: One character, or an escape that stands for one; None for a reserved id.

    Returns:
        An open box for a space, arrows for a line break and a tab, a dotted circle under a combining mark, an escape
        such as \x1b for what does not print, else the character itself.

    """
    if character is None:
        return RESERVED
    if character in _SIGNS:
        return _SIGNS[character]
    if len(character) > 1:
        return harmless(character)
    category = unicodedata.category(character)
    if category[0] in "CZ":  # controls, formats, surrogates, private or not assigned; blanks
        return ascii(character)[1:-1]
    return CIRCLE + character if category[0] == "M" else character


def visible_text(text: str) -> str:
    """Return a text whose every character is visible, on one line."""
    return "".join(map(visible, text))


def safe(text: object) -> str:
    """Return a text for a page of HTML: markup and quotes escaped, characters that control the direction shown."""
    return html.escape(harmless(str(text), keep="\n"), quote=True)
