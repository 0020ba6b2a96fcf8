"""The numbers of a report in its JSON and on its page: plain values, equations and tables."""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from charlm.text.markup import safe

DIGITS = 7
"""Significant digits of a number in the JSON."""
MINUS = "\N{MINUS SIGN}"
_INDEX = re.compile(r"([_^])(?:\{([^}]*)\}|(\w))")
_TAGS = {"_": "sub", "^": "sup"}


def to_plain(value: Any) -> Any:
    """Return dataclasses, arrays and NumPy numbers as dictionaries, lists and numbers for JSON.

    A complex number becomes [real, imaginary], and a number that is not finite becomes None.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    match value:
        case Mapping():
            return {str(key): to_plain(item) for key, item in value.items()}
        case list() | tuple():
            return [to_plain(item) for item in value]
        case complex(real=real, imag=imaginary):
            return to_plain([real, imaginary])
        case float():
            return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def equation(text: str) -> str:
    """Return an equation as HTML; _t and _{t-k} are subscripts, ^T and ^{-1} superscripts.

    Args:
        text: The equation, with the names in the code, such as h_t = f(x_t U + h_{t-1} V + b).

    """
    return f'<p class="equation">{_INDEX.sub(_tagged, html.escape(text.replace("-", MINUS)))}</p>'


def _tagged(index: re.Match[str]) -> str:
    tag = _TAGS[index[1]]
    return f"<{tag}>{index[2] or index[3]}</{tag}>"


def number(value: float | None) -> str:
    """Return a number with four significant digits; a dash for None and values that are not finite.

    Integers are shown in full, with commas.
    """
    plain = to_plain(value)
    if plain is None:
        return "\N{EN DASH}"
    text = f"{plain:,}" if isinstance(plain, int) else f"{plain:.4g}"
    return text.replace("-", MINUS)


def with_error(mean: float | None, error: float | None) -> str:
    """Return a mean with its standard error, both to the second digit of the error.

    The error is omitted if it is unknown, or so small that it is only rounding.
    """
    places = -1
    if error and math.isfinite(error):
        places = max(0, 1 - math.floor(math.log10(error)))
    if not 0 <= places <= DIGITS:
        return number(mean)
    return f"{mean:.{places}f} \N{PLUS-MINUS SIGN} {error:.{places}f}".replace("-", MINUS)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str) -> str:
    """Return a table with numbers aligned to the right.

    Args:
        head: The names of the columns.
        rows: Cells: numbers, None for a missing number, pairs of a mean and its standard error, or
            strings.
        caption: The description of the table.

    """
    title = safe(caption)
    cells = "".join(f'<th scope="col">{safe(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>'
        f"<caption>{title}</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def _cell(value: Any) -> str:
    match value:
        case str():
            return f"<td>{safe(value)}</td>"
        case (mean, error):
            return f'<td class="number">{with_error(mean, error)}</td>'
    return f'<td class="number">{number(value)}</td>'


def folded(summary: str, content: str) -> str:
    """Return HTML that is hidden until the reader opens it."""
    return f"<details><summary>{safe(summary)}</summary>{content}</details>"
