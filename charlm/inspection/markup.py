"""Pieces of HTML that several parts of a page use. What they are given is text; what they return is escaped."""

import html
import re
from collections.abc import Iterable, Sequence

from charlm.inspection.plain import to_plain
from charlm.inspection.visible import safe

_INDEX = re.compile(r"([_^])(?:\{([^}]*)\}|(\w))")
_TAGS = {"_": "sub", "^": "sup"}


def equation(text: str) -> str:
    """Return an equation as HTML; _t and _{t-k} are subscripts, ^T and ^{-1} superscripts.

    Args:
        text: The equation in the names that the code uses, for instance h_t = f(x_t U + h_{t-1} V + b).

    """
    escaped = html.escape(text.replace("-", "\N{MINUS SIGN}"))
    inner = _INDEX.sub(lambda found: _tagged(_TAGS[found[1]], found[2] or found[3]), escaped)
    return f'<p class="equation">{inner}</p>'


def _tagged(tag: str, text: str) -> str:
    return f"<{tag}>{text}</{tag}>"


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
