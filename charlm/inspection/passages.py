"""HTML of a page: labels of characters, equations, numbers, tables, and texts with a colour for each character.

What a function here is given is text; what it returns is escaped. Every text in a report may come from a stranger.
Nothing in it may act on the page, neither as HTML nor by turning the direction of writing. Axes: T characters, H units.
"""

import html
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import harmless
from charlm.inspection.surprise import Predictions
from charlm.inspection.units import LayerOutputs, Units

SPACE, NEWLINE, TAB = "\N{OPEN BOX}", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\N{RIGHTWARDS ARROW}"
CIRCLE = "\N{DOTTED CIRCLE}"
RESERVED = "\N{WHITE SQUARE}"
"""A reserved id, which is no character."""
DIGITS = 7
"""Significant digits of a number in the JSON."""
LEVELS = 9
"""Of colour, above none."""
NATS_PER_LEVEL = 0.75
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
        return harmless(character)
    category = unicodedata.category(character)
    if category[0] in "CZ":  # controls, formats, surrogates, private or not assigned; blanks
        return ascii(character)[1:-1]
    return CIRCLE + character if category[0] == "M" else character


def safe(text: object) -> str:
    """Return a text for a page of HTML: markup and quotes escaped, characters that control the direction shown."""
    return html.escape(harmless(str(text), keep="\n"), quote=True)


def to_plain(value: Any) -> Any:
    """Return dataclasses as dictionaries, arrays and tuples as lists, numbers of NumPy as Python's.

    A complex number becomes [real, imaginary]; a number that is not finite becomes None.
    """
    match value:
        case np.ndarray() | np.generic():
            plain = to_plain(value.tolist())
        case Mapping():
            plain = {str(key): to_plain(item) for key, item in value.items()}
        case list() | tuple():
            plain = [to_plain(item) for item in value]
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
    """Return a number of the JSON with four digits that count, as the page shows every number.

    Args:
        value: A number; None and what is not finite is null in the JSON, and a dash here. Whole numbers are shown in
            full, with commas.

    """
    plain = to_plain(value)
    if plain is None:
        return "\N{EN DASH}"
    return (f"{plain:,}" if isinstance(plain, int) else f"{plain:.4g}").replace("-", "\N{MINUS SIGN}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str) -> str:
    """Return a table; numbers are aligned to the right, texts escaped.

    Args:
        head: The names of the columns.
        rows: Cells: numbers, None for a number that is missing, or texts.
        caption: What the table holds.

    """
    cells = "".join(f'<th scope="col">{safe(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(caption)}"><table><caption>{safe(caption)}'
        f"</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: object) -> str:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return f'<td class="number">{number(value)}</td>'
    return f"<td>{safe(value)}</td>"


def folded(summary: str, content: str) -> str:
    """Return HTML that is hidden until the reader opens it."""
    return f"<details><summary>{safe(summary)}</summary>{content}</details>"


def levels(values: NDArray[np.float64], *, scale: float) -> NDArray[np.int64]:
    """Return the level of colour of each value, int64 from -9 to 9; `scale` is the size that gets the strongest."""
    share = np.abs(np.nan_to_num(values)) / scale
    return np.sign(np.nan_to_num(values)).astype(np.int64) * np.minimum(LEVELS, np.rint(LEVELS * share)).astype(
        np.int64
    )


def passage(characters: Iterable[str | None], colours: Iterable[int], *, label: str) -> str:
    """Return a text as HTML, an element for each character; the Tab key stops at it, and the arrows walk through it.

    Args:
        characters: [T]; None for a reserved id.
        colours: The level of each, -9 to 9, [T].
        label: What the text is, for a screen reader.

    """
    spans = "".join(
        f"<span{_class(colour)}>{_shape(each)}</span>" for each, colour in zip(characters, colours, strict=True)
    )
    return f'<p class="passage" tabindex="0" role="group" aria-label="{safe(label)}">{spans}</p>'


def _class(colour: int) -> str:
    if colour == 0:
        return ""
    return f' class="l{colour}"' if colour > 0 else f' class="cold l{-colour}"'


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


def reader(predictions: Predictions, names: Sequence[str | None], *, run: int) -> str:
    """Return the text coloured by surprise, with a panel for the likeliest characters.

    Args:
        predictions: Of the text.
        names: The character of each id.
        run: The number of the run on the page, from 0.

    """
    colours = np.minimum(LEVELS, predictions.nats / NATS_PER_LEVEL).astype(np.int64)
    text = passage([names[index] for index in predictions.ids], colours.tolist(), label="text coloured by surprise")
    steps = "".join(
        f'<span class="l{level}">\N{NO-BREAK SPACE}{number(level * NATS_PER_LEVEL)}\N{NO-BREAK SPACE}</span>'
        for level in range(0, LEVELS + 1, 3)
    )
    return (
        f'<div class="reader" data-run="{run}"><div class="legend">nats, at least <p class="passage">{steps}</p></div>'
        f'{text}<div class="panel" aria-live="polite"><p class="help">Point at a character, or use Tab and the arrow '
        f"keys: the likeliest characters appear here, and those before it that decided the prediction turn blue."
        f"</p></div></div>"
    )


def reader_data(predictions: Predictions) -> dict[str, Any]:
    """Return the numbers of the JSON for the script of the coloured text; influence as a string of levels for each."""
    shades = np.abs(levels(predictions.influence, scale=1.0))
    return {
        "positions": to_plain(predictions.positions),
        "ids": to_plain(predictions.ids),
        "nats": to_plain(predictions.nats),
        "likeliest": to_plain(predictions.likeliest),
        "probabilities": to_plain(predictions.probabilities),
        "influence": ["".join(map(str, row)) for row in shades.tolist()],
    }


def _centre_and_scale(outputs: LayerOutputs, unit: int) -> tuple[float, float]:
    """Return the output of a unit that has no colour, its median, and the distance from it with the strongest one."""
    values = outputs.values[:, unit]
    centre = float(np.median(values)) if len(values) else 0.0
    return centre, float(np.abs(values - centre).max(initial=0)) or 1.0


def browser(units: Units, names: Sequence[str | None], *, run: int) -> str:
    """Return a browser of all units; `run` is the number of the run on the page, from 0."""
    best = "".join(
        f'<option value="{score.layer} {score.unit}">rnn.{score.layer}, unit {score.unit}: {safe(score.feature)}'
        for score in units.interpretable
    )
    layers = "".join(f'<option value="{each.layer}">rnn.{each.layer}' for each in units.layers)
    text = passage([names[index] for index in units.excerpt], [0] * len(units.excerpt), label="text coloured by a unit")
    hidden = "" if best else " hidden"
    first = f'<label{hidden}>The most interpretable <select class="best">{best}</select></label>'
    return (
        f'<div class="browser" data-run="{run}">{first}<label>Layer <select class="layer">{layers}</select> '
        f'unit <input class="unit" type="number" min="0" value="0"></label>'
        f'<p class="help">Orange: above the median output of the unit on this text; blue: below.</p>{text}'
        f'<div class="panel low" aria-live="polite"></div></div>'
    )


def units_data(units: Units) -> dict[str, Any]:
    """Return what the script of the browser reads."""
    return {
        "ids": units.excerpt.tolist(),
        "layers": [
            {
                "scales": [_centre_and_scale(each, unit) for unit in range(each.values.shape[1])],
                "values": to_plain(each.values),
                "features": list(each.features),
                "strengths": to_plain(each.strengths),
            }
            for each in units.layers
        ],
    }
