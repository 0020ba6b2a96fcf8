"""Records under each other, in the first of four layouts that fits the terminal.

1. One line a record: its name, its figures and its settings in columns.
2. The name and the figures in columns, and the settings in a list below.
3. The name on a line of its own, the figures in columns below, and the settings in a list below them.
4. The name on a line of its own, and the figures and the settings in a list below.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from charlm.cli.table import align, fill, text_width

INDENT = 2


@dataclass(frozen=True)
class Record:
    """The cells of one thing, or the heads of the columns.

    A cell that is None is a dash in a column, and is left out of a list.
    """

    name: str
    figures: Sequence[str | None]
    settings: Sequence[str | None]


def lay_out(heads: Record, groups: Sequence[Sequence[Record]], *, width: int) -> list[list[str]]:
    """Return the lines of groups of records, all groups in the same layout.

    Args:
        heads: The heads of the columns.
        groups: Records with as many figures and settings as there are heads; at least one record in each group.
        width: The columns of a line, 4 or more. Only a name on a line of its own may take more.

    """
    for layout in (_in_columns, _settings_below, _name_above):
        tables = [layout(heads, group, width) for group in groups]
        if None not in tables:
            return [table for table in tables if table is not None]
    return [_as_list(heads, group, width) for group in groups]


def _in_columns(heads: Record, records: Sequence[Record], width: int) -> list[str] | None:
    rows = [(row.name, *row.figures, *row.settings) for row in (heads, *records)]
    return _aligned(rows, width, text_columns={0, *range(1 + len(heads.figures), len(rows[0]))})


def _settings_below(heads: Record, records: Sequence[Record], width: int) -> list[str] | None:
    rows = _aligned([(row.name, *row.figures) for row in (heads, *records)], width, text_columns={0})
    if rows is None:
        return None
    lines = rows[:1]
    for record, row in zip(records, rows[1:], strict=True):
        lines += [row, *_list(heads.settings, record.settings, width)]
    return lines


def _name_above(heads: Record, records: Sequence[Record], width: int) -> list[str] | None:
    rows = _aligned([row.figures for row in (heads, *records)], width - INDENT)
    if rows is None:
        return None
    lines = [" " * INDENT + rows[0]]
    for record, row in zip(records, rows[1:], strict=True):
        lines += [record.name, " " * INDENT + row, *_list(heads.settings, record.settings, width)]
    return lines


def _as_list(heads: Record, records: Sequence[Record], width: int) -> list[str]:
    keys = (*heads.figures, *heads.settings)
    lines = []
    for record in records:
        lines += [record.name, *_list(keys, (*record.figures, *record.settings), width)]
    return lines


def _list(keys: Sequence[str | None], values: Sequence[str | None], width: int) -> list[str]:
    items = [f"{key} {value}" for key, value in zip(keys, values, strict=True) if value is not None]
    return fill(items, width=width, indent=INDENT)


def _aligned(
    rows: Sequence[Sequence[str | None]], width: int, *, text_columns: Collection[int] = ()
) -> list[str] | None:
    """Return the lines of a table, or None if one is too wide."""
    cells = [["-" if cell is None else cell for cell in row] for row in rows]
    lines = align(cells, text_columns=text_columns)
    return lines if all(text_width(line) <= width for line in lines) else None
