"""The report on a network, and the page on one or several reports.

A page is a single HTML file that loads nothing from elsewhere, with a content policy that says so. Its numbers are
those of the reports.
"""

import html
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from string import Template
from typing import Any

from charlm import __version__
from charlm.checks import check_name
from charlm.inspection.figures import (
    Figure,
    Panel,
    clipping_note,
    compare_panels,
    draw_panels,
    figure_style,
    image,
    theme_css,
)
from charlm.inspection.html import equation, folded, table, to_plain
from charlm.inspection.next_steps import NextSteps
from charlm.inspection.reading import Origin
from charlm.inspection.section import Chart, Content, Drawing, Section
from charlm.inspection.sections import SECTIONS
from charlm.text.markup import content_policy, safe
from charlm.wording import counted


@dataclass(frozen=True, eq=False)
class Report:
    """The measurements of one network."""

    name: str
    """The path of the run, for the user."""
    text_name: str
    """The name of the text that was read, for the user."""
    characters: tuple[str | None, ...]
    """The character of each id; None for a reserved id."""
    activation: str
    """The name of the activation f."""
    origin: Origin
    """The training of the network."""
    notes: tuple[str, ...]
    """The parts that were left out, each in a sentence."""
    contents: Mapping[str, Content]
    """Each section by its name. A section that could not be made is missing, and a note says why."""
    next_steps: NextSteps
    """The next steps with its run."""

    def get(self, name: str) -> Any:
        """Return the data of a section; None if it is missing.

        Raises:
            CharlmError: there is no such section.

        """
        check_name("section", name, SECTIONS)
        return self.contents[name].data if name in self.contents else None

    @property
    def summary(self) -> list[tuple[str, str]]:
        """Predicates about the network, each with the name of its section."""
        return [
            (name, content.summary) for name, content in self.contents.items() if content.summary
        ]

    @cached_property
    def data(self) -> dict[str, Any]:
        """The report as an object for `json.dumps`.

        The keys are the names of the sections and of the fields of their data, all the way down. `spectral_radius`
        repeats the radius of each layer, `summary` is a list of objects (section, text), and `next_steps` is what to
        try next. Numbers have 7 significant digits; one that is not finite is null. Ids are indices of `characters`,
        and the first character of the text is character 1.
        """
        names = ("name", "text_name", "characters", "activation", "notes")
        plain = {name: to_plain(getattr(self, name)) for name in names}
        plain |= {name: to_plain(self.get(name)) for name in SECTIONS}
        plain["summary"] = [{"section": name, "text": text} for name, text in self.summary]
        plain["spectral_radius"] = [layer["spectral_radius"] for layer in plain["spectrum"] or ()]
        plain["next_steps"] = to_plain(self.next_steps)
        return plain

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The figures of the page by name. They are drawn when they are first asked for, which takes a few seconds."""
        return draw_figures([self])

    def _repr_html_(self) -> str:
        """Return the page in a frame, so that its style and script do not affect the notebook."""
        page = html.escape(render_page([self], self.figures))
        return f'<iframe srcdoc="{page}" title="Report" style="width:100%;height:40em;border:0"></iframe>'


HELP = (
    "A loss of L nats per character is as hard as guessing among exp(L) equally likely characters. Characters of the "
    "text are counted from 1. \N{PLUS-MINUS SIGN} is one standard error over texts: how much a number would vary "
    "between texts like this one. How much it varies between trainings can only be seen by comparing runs with "
    "different seeds."
)
MEMORY = (
    "Context and gradient answer different questions: the context is how far back the predictions benefit, and the "
    "gradient is how far back a loss reaches when no window cuts it off."
)
MISSING = '<p class="missing">Not available for this run; the notes at the top say why.</p>'


def group_by_seed(reports: Sequence[Report]) -> list[list[Report]]:
    """Return reports in groups of different runs that differ only in their seeds, in the order of their first run.

    A report is alone if its training text is not known, or if it has the seeds of another one of its group: two
    checkpoints of one run, for instance, are not two runs.
    """
    groups: dict[object, list[Report]] = {}
    for report in reports:
        key = (
            report if report.origin.training is None else (report.origin.training, report.text_name)
        )
        groups.setdefault(key, []).append(report)
    grouped: list[list[Report]] = []
    for group in groups.values():
        has_different_seeds = len({report.origin.seeds for report in group}) == len(group)
        grouped += [group] if has_different_seeds else [[report] for report in group]
    return grouped


def draw_figures(reports: Sequence[Report]) -> dict[str, Figure]:
    """Return every figure by the name of its section, or by `NAME-1`, ... if each of several runs has its own."""
    figures: dict[str, Figure] = {}
    with figure_style():
        for name in SECTIONS:
            for number, report in enumerate(reports, 1):
                figure = report.contents[name].figure if name in report.contents else None
                if isinstance(figure, Drawing):
                    figures[name if len(reports) == 1 else f"{name}-{number}"] = figure.draw()
                elif isinstance(figure, Chart) and len(reports) == 1:
                    figures[name] = figure.draw()
            if len(reports) > 1 and (panels := _shared_panels(name, reports)):
                figures[name] = draw_panels(panels)
    return figures


def _shared_panels(name: str, reports: Sequence[Report]) -> list[Panel]:
    """Return the panels of a section for all reports, with a curve for each run or group of runs."""
    panels: dict[str, list[Sequence[Panel]]] = {}
    for group in group_by_seed([report for report in reports if name in report.contents]):
        others = counted(len(group) - 1, "more seed")
        label = f"{group[0].name} and {others}" if len(group) > 1 else group[0].name
        figures = [report.contents[name].figure for report in group]
        drawn = [figure.panels for figure in figures if isinstance(figure, Chart)]
        if drawn:
            panels[_unused(label, panels)] = drawn
    return compare_panels(panels)


def _unused(label: str, labels: Collection[str]) -> str:
    """Return a label with a number after it if it is in use: a network may be shown twice."""
    numbers = itertools.count(2)
    unused = label
    while unused in labels:
        unused = f"{label} ({next(numbers)})"
    return unused


def render_page(reports: Sequence[Report], figures: Mapping[str, Figure]) -> str:
    """Return a page on some runs; the same reports give the same page.

    Args:
        reports: One or more.
        figures: What `draw_figures` returned for them.

    Returns:
        HTML that loads nothing and runs no script but its own.

    """
    style = theme_css() + _asset("page.css")
    script = _asset("page.js")
    with figure_style():
        sections = "".join(_section(section, reports, figures) for section in SECTIONS.values())
    links = "".join(
        f'<li><a href="#{section.name}">{safe(section.title)}</a></li>'
        for section in SECTIONS.values()
    )
    return Template(_asset("page.html")).substitute(
        policy=content_policy(style, script),
        version=__version__,
        title=safe(", ".join(report.name for report in reports)),
        style=style,
        summary=_summary(reports),
        help=safe(HELP),
        links=f'{links}<li><a href="#next_steps">What to try next</a></li>',
        sections=f"{sections}{_next_steps(reports)}",
        script=script,
    )


def _asset(name: str) -> str:
    return files("charlm.inspection").joinpath("assets", name).read_text(encoding="utf-8")


def _summary(reports: Sequence[Report]) -> str:
    """Return the summary of each run, a table of the runs, and the notes."""
    sentences = "".join(_summary_of(report, is_alone=len(reports) == 1) for report in reports)
    summarized = {name for report in reports for name, _ in report.summary}
    if {"usable_context", "gradient_by_lag"} <= summarized:
        sentences += f'<p class="help">{MEMORY}</p>'
    return (
        sentences
        + _table_of_runs(reports)
        + "".join(_notes(report, len(reports) == 1) for report in reports)
    )


def _summary_of(report: Report, *, is_alone: bool) -> str:
    """Return the summary of a network, with links to the sections."""
    items = "".join(
        f'<li>{safe(text)} (<a href="#{name}">{safe(SECTIONS[name].title)}</a>)</li>'
        for name, text in report.summary
    )
    subject = "This network" if is_alone else safe(report.name)
    return f'<p class="summary">{subject}</p><ul>{items}</ul>' if items else ""


def _notes(report: Report, is_alone: bool) -> str:
    """Return the notes of a report, folded."""
    if not report.notes:
        return ""
    title = (
        "Notes: parts that were left out"
        if is_alone
        else f"Notes on {report.name}: parts that were left out"
    )
    items = "".join(f"<li>{safe(note)}</li>" for note in report.notes)
    return folded(title, f"<ul>{items}</ul>")


def _table_of_runs(reports: Sequence[Report]) -> str:
    rows = []
    for report in reports:
        network, loss = report.get("network"), report.get("loss_by_class")
        score = None if loss is None else (loss.nats_per_char, loss.standard_error)
        count = None if loss is None else loss.positions.count
        weights = network and network.parameters
        rows.append((report.name, report.text_name, report.activation, weights, score, count))
    head = ("run", "text read", "activation", "weights", "nats per character", "characters scored")
    return table(head, rows, caption="Runs on this page")


def _section(section: Section, reports: Sequence[Report], figures: Mapping[str, Figure]) -> str:
    """Return a section: the figure of all runs, then the figure and the table of each run."""
    name = section.name
    content = ""
    if len(reports) > 1 and name in figures:
        caption = _shared_caption(name, reports)
        content += _figure(
            figures[name], f"{', '.join(report.name for report in reports)}: {caption}", caption
        )
    for number, report in enumerate(reports, 1):
        content += f"<h3>{safe(report.name)}</h3>" if len(reports) > 1 else ""
        own = figures.get(name if len(reports) == 1 else f"{name}-{number}")
        content += (
            MISSING
            if name not in report.contents
            else _body(report.name, report.contents[name], own)
        )
    words = f"<h2>{safe(section.title)}</h2>{equation(section.equation)}<p>{safe(section.text)}</p>"
    return f'<section id="{name}"><div class="words">{words}</div><div class="runs">{content}</div></section>\n'


def _shared_caption(name: str, reports: Sequence[Report]) -> str:
    """Return the caption of a figure that shows several runs."""
    shown = [report for report in reports if name in report.contents]
    figures = [report.contents[name].figure for report in shown]
    charts = [figure for figure in figures if isinstance(figure, Chart)]
    sentences = [charts[0].caption]
    sizes = sorted({len(group) for group in group_by_seed(shown) if len(group) > 1})
    if sizes:
        runs = " or ".join(map(str, sizes))
        sentences.append(
            f"Bands and bars: the mean of {runs} runs that differ only in their seeds, ±1 standard error over the "
            "seeds, as far as all of these runs reach. On logarithmic axes it is the geometric mean."
        )
    sentences.append(clipping_note(_shared_panels(name, reports)))
    return " ".join(sentences).rstrip()


def _body(label: str, content: Content, figure: Figure | None) -> str:
    """Return the figure of a run, what its numbers are based on, and its table."""
    html = ""
    if figure is not None and content.figure is not None:
        html += _figure(figure, f"{label}: {content.figure.caption}", _own_caption(content))
    html += content.html
    if content.basis and figure is None:
        html += f'<p class="help">{safe(content.basis)}</p>'
    if content.table is not None:
        cells = table([*content.table.columns], content.table.rows, caption=content.table.caption)
        html += cells if content.table.is_open else folded("Show the numbers", cells)
    return html


def _own_caption(content: Content) -> str:
    """Return the caption of a figure of a single run, with the characters that it is based on."""
    figure = content.figure
    details = figure.details if isinstance(figure, Chart) else ""
    caption = "" if figure is None else figure.caption
    return " ".join(part for part in (caption, details, content.basis) if part)


def _figure(figure: Figure, label: str, caption: str) -> str:
    shown = image(figure, label=label)
    return f"<figure>{shown}<figcaption>{safe(caption)}</figcaption></figure>"


def _next_steps(reports: Sequence[Report]) -> str:
    """Return the last section: what to try next with each run."""
    content = ""
    for group in group_by_seed(reports):
        content += f"<h3>{safe(group[0].name)}</h3>" if len(reports) > 1 else ""
        content += group[0].next_steps.to_html(has_other_seeds=len(group) > 1)
    text = "Experiments that this network invites. Each is a new run; the second command compares it with this one."
    words = f"<h2>What to try next</h2><p>{text}</p>"
    return f'<section id="next_steps"><div class="words">{words}</div><div class="runs">{content}</div></section>\n'
