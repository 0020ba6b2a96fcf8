"""One page of HTML on one or more runs: everything in it, nothing from elsewhere, and a content policy that says so.

The numbers are those of the reports: nothing is computed here. `page.py` writes what this module returns.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

from matplotlib.figure import Figure

from charlm import __version__
from charlm.inspection.figures.look import look, share_limits
from charlm.inspection.figures.svg import inline_svg, theme_css
from charlm.inspection.markup import equation, folded, table
from charlm.inspection.passages import reader_data, units_data
from charlm.inspection.report import Report
from charlm.inspection.sections.order import SECTIONS
from charlm.inspection.sections.section import Chart, Numbers, Section
from charlm.inspection.visible import safe, visible

MARK = '<!doctype html>\n<html lang="en"><!-- charlm inspect -->'
"""How every page begins."""


def render_page(reports: Sequence[Report]) -> str:
    """Return a page on some runs; the same reports give the same page.

    Args:
        reports: One or more; they stand side by side.

    Returns:
        HTML that loads nothing and runs no script but its own.

    """
    reports = [_with_bytes_named(report) for report in reports]
    style = theme_css(":root") + _asset("page.css")
    script = _asset("page.js")
    title = "charlm inspect: " + ", ".join(report.name for report in reports)
    with look():
        sections = [_section(section, reports) for section in SECTIONS]
    shown = [section for section, content in zip(SECTIONS, sections, strict=True) if content]
    links = "".join(f'<li><a href="#{section.name}">{safe(section.title)}</a></li>' for section in shown)
    many = "one" if len(reports) == 1 else "many"
    return (
        f'{MARK}<head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="charlm {__version__}"><link rel="icon" href="data:,">'
        f"<title>{safe(title)}</title><style>{style}</style></head>\n"
        f'<body class="{many}"><header><h1>What the network does</h1>{_summary(reports)}</header>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>{"".join(sections)}</main>\n'
        f"<footer><p>Written by charlm {__version__}. This page needs no network. "
        f"<code>charlm inspect --json</code> prints its numbers.</p></footer>\n"
        f'<script type="application/json" id="numbers">{_data(reports)}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def draw_charts(reports: Sequence[Report]) -> dict[str, tuple[Chart, Figure]]:
    """Return every figure by the name of its file, without ending: `NAME` for one run, `NAME-1`, ... for several."""
    reports = [_with_bytes_named(report) for report in reports]
    figures: dict[str, tuple[Chart, Figure]] = {}
    for chart in (chart for section in SECTIONS for chart in section.charts):
        for index, figure in enumerate(_draw(chart, reports)):
            if figure is not None:
                figures[chart.name if len(reports) == 1 else f"{chart.name}-{index + 1}"] = chart, figure
    return figures


def _with_bytes_named(report: Report) -> Report:
    r"""Return the report with bytes that are not ASCII named by an escape such as \xc3: alone, they are no letters."""
    if report.level != "byte":
        return report
    names = tuple(each if each is None or each.isascii() else ascii(each)[1:-1] for each in report.characters)
    return replace(report, characters=names)


def _asset(name: str) -> str:
    return files("charlm.inspection").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a content policy that allows this style and this script, and no connection at all."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        f"base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _summary(reports: Sequence[Report]) -> str:
    rows = [
        (
            report.name,
            report.text_name,
            report.activation,
            None if report.network is None else report.network.parameters,
            None if report.loss_by_class is None else report.loss_by_class.nats_per_char,
            None if report.loss_by_class is None else report.loss_by_class.characters,
        )
        for report in reports
    ]
    head = ("run", "text read", "f", "parameters", "nats per character", "characters scored")
    notes = "".join(_notes(report, is_named=len(reports) > 1) for report in reports)
    return table(head, rows, caption="Runs on this page") + notes


def _notes(report: Report, *, is_named: bool) -> str:
    if not report.notes:
        return ""
    items = "".join(f"<li>{safe(note)}</li>" for note in report.notes)
    name = f" of {report.name}" if is_named else ""
    return folded(f"Limits{name}: what was left out", f"<ul>{items}</ul>")


def _section(section: Section, reports: Sequence[Report]) -> str:
    figures = [_draw(chart, reports) for chart in section.charts]
    bodies = [_body(section, report, [same[run] for same in figures], run=run) for run, report in enumerate(reports)]
    if section.is_optional and not any(bodies):
        return ""
    columns = "".join(
        f'<div class="run">{_heading(report, len(reports))}{body or _missing()}</div>'
        for report, body in zip(reports, bodies, strict=True)
    )
    return (
        f'<section id="{section.name}"><div class="words"><h2>{safe(section.title)}</h2>{equation(section.equation)}'
        f'<p>{safe(section.see)}</p></div><div class="runs">{columns}</div></section>\n'
    )


def _heading(report: Report, count: int) -> str:
    """Return the name of a run above its part of a section; the only run needs none."""
    return f"<h3>{safe(report.name)}</h3>" if count > 1 else ""


def _missing() -> str:
    return '<p class="missing">Not available for this run; the limits at the top say why.</p>'


def _body(section: Section, report: Report, figures: Sequence[Figure | None], *, run: int) -> str:
    """Return what a section shows of a run; "" if there is nothing."""
    drawn = [
        f"<figure>{inline_svg(figure, name=f'{chart.name}-{run}', label=f'{report.name}: {chart.label}')}</figure>"
        for chart, figure in zip(section.charts, figures, strict=True)
        if figure is not None
    ]
    view = section.view(report, run) if section.view else ""
    return "".join([*drawn, view, *(_table(numbers, report) for numbers in section.numbers)])


def _table(numbers: Numbers, report: Report) -> str:
    rows = numbers.rows(report)
    if not rows:
        return ""
    html = table(numbers.head, rows, caption=numbers.caption)
    return folded(f"Numbers: {numbers.caption}", html) if numbers.is_folded else html


def _draw(chart: Chart, reports: Sequence[Report]) -> list[Figure | None]:
    figures = [chart.draw(report) for report in reports]
    if chart.shares_limits:
        share_limits([figure for figure in figures if figure is not None])
    return figures


def _data(reports: Sequence[Report]) -> str:
    """Return what the script reads, as JSON that cannot end its element."""
    runs: list[dict[str, Any]] = [
        {
            "labels": [visible(character) for character in report.characters],
            "reader": None if report.surprise is None else reader_data(report.surprise),
            "units": None if report.units is None else units_data(report.units),
        }
        for report in reports
    ]
    text = json.dumps({"runs": runs}, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
