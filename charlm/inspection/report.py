"""The report on a network, and the page on one or several reports.

A page is a single HTML file that loads nothing from elsewhere, which its content policy enforces.
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
from charlm.inspection.section import Chart, Content, Section
from charlm.inspection.sections import SECTIONS
from charlm.text.markup import content_policy, safe
from charlm.wording import counted


@dataclass(frozen=True, eq=False)
class Report:
    """The measurements of one network."""

    name: str
    """Path of the run, for the user."""
    text_name: str
    """Name of the text that was read, for the user."""
    characters: tuple[str | None, ...]
    """The character of each id; None for a reserved id."""
    activation: str
    """Name of the activation f."""
    origin: Origin
    """Where the network comes from: the run that trained it."""
    notes: tuple[str, ...]
    """Sentences about the parts that were left out."""
    contents: Mapping[str, Content]
    """Each section by its name. A section that could not be made is missing, and a note says
    why."""
    next_steps: NextSteps
    """Next steps with the run."""

    def get(self, name: str) -> Any:
        """Return the data of a section; None if it is missing.

        Raises:
            CharlmError: There is no such section.

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

        The keys are the names of the sections and of the fields of their data. `spectral_radius`
        repeats the radius of each layer, `summary` is a list of objects (section, text), and
        `next_steps` is what to try next. Numbers have 7 significant digits; a number that is not
        finite is null. Ids are indices of `characters`, and the first character of the text is
        character 1.
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
        """The figures of the page by name; drawing them takes a few seconds."""
        return draw_figures([self])

    def _repr_html_(self) -> str:
        """Return the page in a frame, which isolates its style and script from a notebook."""
        page = html.escape(render_page([self], self.figures))
        style = "width:100%;height:40em;border:0"
        return f'<iframe srcdoc="{page}" title="Report" style="{style}"></iframe>'


HELP = (
    "A loss of L nats per character corresponds to guessing among exp(L) equally "
    "likely characters. Characters of the text are counted from 1. \N{PLUS-MINUS SIGN} is one "
    "standard "
    "error over texts: how much a number would vary between texts like this one. To see how much "
    "it varies between training runs, compare runs with different seeds."
)
MEMORY = (
    "Context and gradient answer different questions: the context is how far back text still "
    "improves the predictions, and the gradient is how far back a loss reaches when no window cuts "
    "it off."
)
MISSING = '<p class="missing">Not available for this run; the notes at the top say why.</p>'


def group_by_seed(reports: Sequence[Report]) -> list[list[Report]]:
    """Return reports in groups of runs that differ only in their seeds.

    A report is alone if its training text is unknown, or if two reports of its group have the same
    seeds: two checkpoints of one run, for instance, are not two runs.
    """
    groups: dict[object, list[Report]] = {}
    for report in reports:
        training = report.origin.training
        key = report if training is None else (training, report.text_name)
        groups.setdefault(key, []).append(report)
    grouped: list[list[Report]] = []
    for group in groups.values():
        has_different_seeds = len({report.origin.seeds for report in group}) == len(group)
        grouped += [group] if has_different_seeds else [[report] for report in group]
    return grouped


def draw_figures(reports: Sequence[Report]) -> dict[str, Figure]:
    """Return every figure by name: NAME of the section, or NAME-1, ... for each of several runs."""
    figures: dict[str, Figure] = {}
    with figure_style():
        for name in SECTIONS:
            for number, report in enumerate(reports, 1):
                figure = report.contents[name].figure if name in report.contents else None
                is_shared = isinstance(figure, Chart) and len(reports) > 1
                if figure is not None and not is_shared:
                    figures[_figure_name(name, number, reports)] = figure.draw()
            panels = _shared_panels(name, reports) if len(reports) > 1 else []
            if panels:
                figures[name] = draw_panels(panels)
    return figures


def _figure_name(name: str, number: int, reports: Sequence[Report]) -> str:
    return name if len(reports) == 1 else f"{name}-{number}"


def _shared_panels(name: str, reports: Sequence[Report]) -> list[Panel]:
    """Return the panels of a section with a curve for each run or group of runs."""
    panels: dict[str, list[Sequence[Panel]]] = {}
    for group in group_by_seed([report for report in reports if name in report.contents]):
        label = group[0].name
        if len(group) > 1:
            label += f" and {counted(len(group) - 1, 'more seed')}"
        charts = _charts(name, group)
        if charts:
            panels[_unused(label, panels)] = [chart.panels for chart in charts]
    return compare_panels(panels)


def _charts(name: str, reports: Sequence[Report]) -> list[Chart]:
    """Return the charts of a section from the reports that have one."""
    figures = [report.contents[name].figure for report in reports if name in report.contents]
    return [figure for figure in figures if isinstance(figure, Chart)]


def _unused(label: str, labels: Collection[str]) -> str:
    """Return a label, with a number if it is in use because a network is shown twice."""
    numbers = itertools.count(2)
    unused = label
    while unused in labels:
        unused = f"{label} ({next(numbers)})"
    return unused


def render_page(reports: Sequence[Report], figures: Mapping[str, Figure]) -> str:
    """Return an HTML page on one or more runs; the same reports give the same page.

    Args:
        reports: One or more.
        figures: The figures that `draw_figures` returned for them.

    """
    style = theme_css() + _asset("page.css")
    script = _asset("page.js")
    with figure_style():
        sections = [_section(section, reports, figures) for section in SECTIONS.values()]
    sections.append(_next_steps(reports))
    titles = {name: section.title for name, section in SECTIONS.items()}
    titles["next_steps"] = NEXT_STEPS
    links = [f'<li><a href="#{name}">{safe(title)}</a></li>' for name, title in titles.items()]
    return Template(_asset("page.html")).substitute(
        policy=content_policy(style, script),
        version=__version__,
        title=safe(", ".join(report.name for report in reports)),
        style=style,
        summary=_summary(reports),
        help=safe(HELP),
        links="".join(links),
        sections="".join(sections),
        script=script,
    )


def _asset(name: str) -> str:
    return files("charlm.inspection").joinpath("assets", name).read_text(encoding="utf-8")


def _summary(reports: Sequence[Report]) -> str:
    """Return the summary of each run, a table of the runs, and the notes."""
    parts = [_summary_of(report, is_alone=len(reports) == 1) for report in reports]
    summarized = {name for report in reports for name, _ in report.summary}
    if {"usable_context", "gradient_by_lag"} <= summarized:
        parts.append(f'<p class="help">{MEMORY}</p>')
    parts.append(_table_of_runs(reports))
    parts += [_notes(report, is_alone=len(reports) == 1) for report in reports]
    return "".join(parts)


def _summary_of(report: Report, *, is_alone: bool) -> str:
    """Return the summary of a network, with links to the sections."""
    if not report.summary:
        return ""
    items = [
        f'<li>{safe(text)} (<a href="#{name}">{safe(SECTIONS[name].title)}</a>)</li>'
        for name, text in report.summary
    ]
    subject = "This network" if is_alone else safe(report.name)
    return f'<p class="summary">{subject}</p><ul>{"".join(items)}</ul>'


def _notes(report: Report, *, is_alone: bool) -> str:
    if not report.notes:
        return ""
    subject = "" if is_alone else f" on {report.name}"
    items = "".join(f"<li>{safe(note)}</li>" for note in report.notes)
    return folded(f"Notes{subject}: parts that were left out", f"<ul>{items}</ul>")


def _table_of_runs(reports: Sequence[Report]) -> str:
    rows = []
    for report in reports:
        network = report.get("network")
        weights = network and network.parameters
        loss = report.get("loss_by_class")
        score = loss and (loss.nats_per_char, loss.standard_error)
        count = loss and loss.positions.count
        rows.append((report.name, report.text_name, report.activation, weights, score, count))
    head = ("run", "text read", "activation", "weights", "nats per character", "characters scored")
    return table(head, rows, caption="Runs on this page")


def _section(section: Section, reports: Sequence[Report], figures: Mapping[str, Figure]) -> str:
    """Return a section: the figure of all runs, then the figure and the table of each run."""
    name = section.name
    parts = []
    if len(reports) > 1 and name in figures:
        caption = _shared_caption(name, reports)
        names = ", ".join(report.name for report in reports)
        parts.append(_figure(figures[name], f"{names}: {caption}", caption))
    for number, report in enumerate(reports, 1):
        parts.append(_heading(report, reports))
        figure = figures.get(_figure_name(name, number, reports))
        if name in report.contents:
            parts.append(_body(report.name, report.contents[name], figure))
        else:
            parts.append(MISSING)
    words = f"{equation(section.equation)}<p>{safe(section.text)}</p>"
    return _framed(name, section.title, words, "".join(parts))


def _heading(report: Report, reports: Sequence[Report]) -> str:
    return f"<h3>{safe(report.name)}</h3>" if len(reports) > 1 else ""


def _framed(name: str, title: str, words: str, content: str) -> str:
    return (
        f'<section id="{name}"><div class="words"><h2>{safe(title)}</h2>{words}</div>'
        f'<div class="runs">{content}</div></section>\n'
    )


def _shared_caption(name: str, reports: Sequence[Report]) -> str:
    """Return the caption of a figure that shows several runs."""
    shown = [report for report in reports if name in report.contents]
    sentences = [_charts(name, shown)[0].caption]
    sizes = sorted({len(group) for group in group_by_seed(shown) if len(group) > 1})
    if sizes:
        runs = " or ".join(map(str, sizes))
        sentences.append(
            f"Bands and bars: the mean of {runs} runs that differ only in their seeds, ±1 standard "
            "error over the seeds, up to the last point that all of these runs have. On "
            "logarithmic axes, the mean is the geometric mean."
        )
    sentences.append(clipping_note(_shared_panels(name, reports)))
    return " ".join(sentences).rstrip()


def _body(label: str, content: Content, figure: Figure | None) -> str:
    """Return the figure and the table of a run, with the characters that they are based on."""
    parts = []
    if figure is not None and content.figure is not None:
        caption = content.figure.caption
        details = content.figure.details if isinstance(content.figure, Chart) else ""
        sentences = " ".join(filter(None, (caption, details, content.basis)))
        parts.append(_figure(figure, f"{label}: {caption}", sentences))
    parts.append(content.html)
    if content.basis and figure is None:
        parts.append(f'<p class="help">{safe(content.basis)}</p>')
    if content.table is not None:
        cells = table([*content.table.columns], content.table.rows, caption=content.table.caption)
        parts.append(cells if content.table.is_open else folded("Show the numbers", cells))
    return "".join(parts)


def _figure(figure: Figure, label: str, caption: str) -> str:
    shown = image(figure, label=label)
    return f"<figure>{shown}<figcaption>{safe(caption)}</figcaption></figure>"


NEXT_STEPS = "What to try next"


def _next_steps(reports: Sequence[Report]) -> str:
    """Return the last section: what to try next with each run."""
    parts = []
    for group in group_by_seed(reports):
        parts.append(_heading(group[0], reports))
        parts.append(group[0].next_steps.to_html(has_other_seeds=len(group) > 1))
    text = (
        "Experiments that suit this network. Each is a new run; the second command compares it "
        "with this one."
    )
    return _framed("next_steps", NEXT_STEPS, f"<p>{text}</p>", "".join(parts))
