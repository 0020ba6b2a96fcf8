"""HTML of pages: labels of characters, equations, numbers, tables, and texts with a colour for each character.

What a function here is given is text; what it returns is escaped. Every text in a report may be untrusted.
Nothing in it may act on the page, neither as HTML nor by turning the direction of writing. Axes: T characters.
"""

import base64
import hashlib
import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from charlm.wording import escape_controls

SPACE, NEWLINE, TAB = (
    "\N{OPEN BOX}",
    "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
    "\N{RIGHTWARDS ARROW}",
)
CIRCLE = "\N{DOTTED CIRCLE}"
RESERVED = "\N{WHITE SQUARE}"
"""A reserved id, which is no character."""
DIGITS = 7
"""Significant digits of a number in the JSON."""
LEVELS, NATS_PER_LEVEL = 9, 0.75
"""Of colour, above none."""
_SIGNS = {" ": SPACE, "\n": NEWLINE, "\t": TAB}
_INDEX = re.compile(r"([_^])(?:\{([^}]*)\}|(\w))")
_TAGS = {"_": "sub", "^": "sup"}


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
        return escape_controls(character)
    category = unicodedata.category(character)
    if category[0] in "CZ":  # controls, formats, surrogates, private or not assigned; blanks
        return ascii(character)[1:-1]
    return CIRCLE + character if category[0] == "M" else character


def safe(text: object) -> str:
    """Return a text for a page of HTML: markup and quotes escaped, characters that control the direction shown."""
    return html.escape(escape_controls(str(text), keep="\n"), quote=True)


def script_json(value: Any) -> str:
    """Return plain data as JSON for a <script> element, which no text in it can end."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def content_policy(style: str, *scripts: str) -> str:
    """Return the content policy of a page: its style and its scripts by what they contain, and no connection at all."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (style, *scripts))
    styles, *hashes = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; style-src {styles}; script-src {' '.join(hashes)}; img-src data:; "
        f"base-uri 'none'; form-action 'none'"
    )


def to_plain(value: Any) -> Any:
    """Return dataclasses as dictionaries, arrays and tuples as lists, numbers of NumPy as Python's.

    A complex number becomes [real, imaginary], a range its first, last and count; a number that is not
    finite becomes None.
    """
    match value:
        case np.ndarray() | np.generic():
            plain = to_plain(value.tolist())
        case Mapping():
            plain = {str(key): to_plain(item) for key, item in value.items()}
        case list() | tuple():
            plain = [to_plain(item) for item in value]
        case range():
            plain = {"first": value[0], "last": value[-1], "count": len(value)} if value else None
        case complex():
            plain = [to_plain(value.real), to_plain(value.imag)]
        case float():
            plain = float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        case _ if is_dataclass(value):
            plain = {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            plain = value
    return plain


def equation(text: str) -> str:
    """Return an equation as HTML; _t and _{t-k} are subscripts, ^T and ^{-1} superscripts.

    Args:
        text: The equation in the names that the code uses, for instance h_t = f(x_t U + h_{t-1} V + b).

    """
    escaped = html.escape(text.replace("-", "\N{MINUS SIGN}"))

    def tagged(found: re.Match[str]) -> str:
        tag = _TAGS[found[1]]
        return f"<{tag}>{found[2] or found[3]}</{tag}>"

    return f'<p class="equation">{_INDEX.sub(tagged, escaped)}</p>'


def number(value: float | None) -> str:
    """Return a number of the JSON with four significant digits, as the page shows every number.

    Args:
        value: A number; None and what is not finite is null in the JSON, and a dash here. Whole numbers are shown in
            full, with commas.

    """
    plain = to_plain(value)
    if plain is None:
        return "\N{EN DASH}"
    return (f"{plain:,}" if isinstance(plain, int) else f"{plain:.4g}").replace(
        "-", "\N{MINUS SIGN}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str) -> str:
    """Return a table; numbers are aligned to the right, texts escaped.

    Args:
        head: The names of the columns.
        rows: Cells: numbers, None for a number that is missing, pairs of a mean and its standard error, or texts.
        caption: What the table holds.

    """
    cells = "".join(f'<th scope="col">{safe(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(caption)}"><table><caption>{safe(caption)}'
        f"</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def with_error(mean: float | None, error: float | None) -> str:
    """Return a mean with its standard error, both to its second digit, 1.318 \N{PLUS-MINUS SIGN} 0.021.

    The error is left out if it is not known, or so small that it is rounding.
    """
    if not error or to_plain(error) is None:
        return number(mean)
    places = max(0, 1 - math.floor(math.log10(error)))
    if places > DIGITS:
        return number(mean)
    return f"{mean:.{places}f} \N{PLUS-MINUS SIGN} {error:.{places}f}".replace(
        "-", "\N{MINUS SIGN}"
    )


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return f'<td class="number">{with_error(*value)}</td>'
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return f'<td class="number">{number(value)}</td>'
    return f"<td>{safe(value)}</td>"


def folded(summary: str, content: str) -> str:
    """Return HTML that is hidden until the reader opens it."""
    return f"<details><summary>{safe(summary)}</summary>{content}</details>"


def coloured_text(characters: Iterable[str | None], nats: Iterable[float | None]) -> str:
    """Return a text coloured by surprise: an element for each character, with its nats as a title.

    Args:
        characters: [T]; None for a reserved id.
        nats: Of each, [T]; None for one that was not scored.

    """
    return "".join(
        f'<span{_level(each)} title="{"not scored" if each is None else f"{each:.2f} nats"}">{_shape(character)}</span>'
        for character, each in zip(characters, nats, strict=True)
    )


def _level(nats: float | None) -> str:
    level = 0 if nats is None else min(LEVELS, int(nats / NATS_PER_LEVEL))
    return f' class="l{level}"' if level else ""


def _shape(character: str | None) -> str:
    """Return a character inside its element: blanks keep their effect, and line breaks and tabs are marked too."""
    if character == " ":
        return " "
    if character == "\n":
        return f"<i>{NEWLINE}</i>\n"
    if character == "\t":
        return f"<i>{TAB}</i>\t"
    shape = visible(character)
    return safe(shape) if shape == character else f"<i>{safe(shape)}</i>"
