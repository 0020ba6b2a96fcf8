"""A report on one or more runs as a page.

A page is one file of HTML: everything in it, nothing from elsewhere, and a content policy that says so. Its numbers are
those of the reports: nothing is computed here.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm import __version__
from charlm.inspection.figures import figure_style, image, share_limits, theme_css
from charlm.inspection.markup import equation, folded, safe, script_json, source_hash, table, visible
from charlm.inspection.report import SECTIONS, Report
from charlm.inspection.section import Chart, Section, rests_on
from charlm.storage.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEMORY = "The lengths differ: the context is what helps to predict, the gradient is how far back a loss can teach."


def write_page(reports: Sequence[Report], out: Path) -> None:
    """Write a page on some runs, whole or not at all.

    Args:
        reports: One or more; they stand side by side.
        out: The file.

    Raises:
        CharlmError: the file cannot be written.

    """
    write_file(out, render_page(reports, draw_charts(reports)).encode())


def draw_charts(reports: Sequence[Report]) -> "dict[str, Figure]":
    """Return every figure by its name: `NAME` for one run, `NAME-1`, ... for several."""
    figures: dict[str, Figure] = {}
    with figure_style():
        for section in SECTIONS:
            if section.chart is None:
                continue
            found = [report.get(section.name) for report in reports]
            drawn = [None if each is None else section.chart.draw(each) for each in found]
            named = {_figure_name(section.chart, run, reports): figure for run, figure in enumerate(drawn) if figure}
            if section.chart.shares_limits:
                share_limits([*named.values()])
            figures |= named
    return figures


def _figure_name(chart: Chart, run: int, reports: Sequence[Report]) -> str:
    return chart.name if len(reports) == 1 else f"{chart.name}-{run + 1}"


def render_page(reports: Sequence[Report], figures: "Mapping[str, Figure]") -> str:
    """Return a page on some runs; the same reports give the same page.

    Args:
        reports: One or more; they stand side by side.
        figures: What `draw_charts` returned for them.

    Returns:
        HTML that loads nothing and runs no script but its own.

    """
    style, script = theme_css() + _asset("page.css"), _asset("page.js")
    title = "charlm inspect: " + ", ".join(report.name for report in reports)
    with figure_style():
        sections = [(section, _section(section, reports, figures)) for section in SECTIONS]
    links = "".join(f'<li><a href="#{each.name}">{safe(each.title)}</a></li>' for each, _ in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="charlm {__version__}"><link rel="icon" href="data:,">'
        f"<title>{safe(title)}</title><style>{style}</style></head>\n"
        f'<body class="{"one" if len(reports) == 1 else "many"}">'
        f"<header><h1>What the network does</h1>{_summary(reports)}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>{"".join(html for _, html in sections)}</main>\n'
        f"<footer><p>Written by charlm {__version__}. This page loads nothing from elsewhere. "
        f"<code>charlm inspect --json</code> prints its numbers.</p></footer>\n"
        f'<script type="application/json" id="numbers">{_data(reports)}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return files("charlm.inspection").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a content policy that allows this style and this script, and no connection at all."""
    return (
        f"default-src 'none'; style-src {source_hash(style)}; script-src {source_hash(script)}; img-src data:; "
        f"base-uri 'none'; form-action 'none'"
    )


def _summary(reports: Sequence[Report]) -> str:
    rows = []
    for report in reports:
        network, loss = report.get("network"), report.get("loss_by_class")
        scored = (None, None) if loss is None else ((loss.nats_per_char, loss.standard_error), len(loss.positions))
        parameters = None if network is None else network.parameters
        rows.append((report.name, report.text_name, report.activation, parameters, *scored))
    head = ("run", "text read", "f", "parameters", "nats per character", "characters scored")
    is_named = len(reports) > 1
    sentences = "".join(_sentence(report, is_named=is_named) for report in reports)
    if 'href="#usable_context"' in sentences and 'href="#gradient_by_lag"' in sentences:
        sentences += f'<p class="help">{MEMORY}</p>'
    notes = "".join(_notes(report, is_named=is_named) for report in reports)
    return sentences + table(head, rows, caption="Runs on this page") + notes


def _sentence(report: Report, *, is_named: bool) -> str:
    """Return the main numbers of a report, each part a link to the section that computed it."""
    links = "; ".join(f'<a href="#{name}">{safe(text)}</a>' for name, text in report.summary)
    return links and f'<p class="summary">{safe(report.name) if is_named else "This network"} {links}.</p>'


def _notes(report: Report, *, is_named: bool) -> str:
    if not report.notes:
        return ""
    items = "".join(f"<li>{safe(note)}</li>" for note in report.notes)
    name = f" of {report.name}" if is_named else ""
    return folded(f"Limits{name}: what was left out", f"<ul>{items}</ul>")


def _section(section: Section, reports: Sequence[Report], figures: "Mapping[str, Figure]") -> str:
    """Return a section with a column for each run."""
    missing = '<p class="missing">Not available for this run; the limits at the top say why.</p>'
    columns = []
    for run, report in enumerate(reports):
        name = f"<h3>{safe(report.name)}</h3>" if len(reports) > 1 else ""
        figure = None if section.chart is None else figures.get(_figure_name(section.chart, run, reports))
        columns.append(f'<div class="run">{name}{_body(section, report, figure, run) or missing}</div>')
    return (
        f'<section id="{section.name}"><div class="words"><h2>{safe(section.title)}</h2>{equation(section.equation)}'
        f'<p>{safe(section.see)}</p></div><div class="runs">{"".join(columns)}</div></section>\n'
    )


def _body(section: Section, report: Report, figure: "Figure | None", run: int) -> str:
    """Return what a section shows of a run; "" if there is nothing."""
    found, html = report.get(section.name), ""
    if found is None:
        return ""
    if figure is not None and section.chart is not None:
        label = section.chart.label
        html += f"<figure>{image(figure, label=f'{report.name}: {label}')}"
        html += f"<figcaption>{safe(label[0].upper() + label[1:])}.</figcaption></figure>"
    if section.view:
        html += section.view(found, report.characters, run)
    if read := rests_on(found):
        html += f'<p class="help">Rests on {read}.</p>'
    numbers = section.table
    if numbers is not None and (rows := numbers.rows(found, report.characters)):
        cells = table(numbers.columns, rows, caption=numbers.caption)
        html += folded(f"Numbers: {numbers.caption}", cells) if numbers.is_folded else cells
    return html


def _data(reports: Sequence[Report]) -> str:
    """Return what the script reads, as JSON."""
    runs: list[dict[str, Any]] = []
    for report in reports:
        run: dict[str, Any] = {"labels": [visible(character) for character in report.characters]}
        for section in SECTIONS:
            if section.data is not None and (found := report.get(section.name)) is not None:
                run[section.name] = section.data(found)
        runs.append(run)
    return script_json({"runs": runs})
