"""The report on a network: what every section has found, as data, as figures, and on a page beside those on others.

A page is one file of HTML: everything in it, nothing from elsewhere, and a content policy that says so. Its numbers are
those of the reports.
"""

import functools
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from string import Template
from typing import Any

import yaml

from charlm import __version__
from charlm.errors import check_name
from charlm.inspection.figures import Figure, Panel, compare_panels, draw_panels, figure_style, image, theme_css
from charlm.inspection.reading import Found
from charlm.text.markup import content_policy, equation, folded, safe, table, to_plain
from charlm.wording import counted


@dataclass(frozen=True, eq=False)
class Report:
    """What was found out about one network."""

    name: str
    """The path of the run, for the user."""
    text_name: str
    """What was read: a name for the user."""
    characters: tuple[str | None, ...]
    """The character of each id; None for a reserved id."""
    activation: str
    recipe: str
    """What the network was trained with: the same for runs that differ in `seed` alone."""
    notes: tuple[str, ...]
    """What was left out, each a sentence."""
    found: Mapping[str, Found]
    """What each section has found, by its name; one that could not be made is missing, and `notes` says why."""

    def get(self, name: str) -> Any:
        """Return the data of a section, None if it is missing; raise CharlmError if there is no such section."""
        check_name("section", name, read_words())
        return self.found[name].data if name in self.found else None

    @property
    def summary(self) -> list[tuple[str, str]]:
        """The parts of a sentence about the network, each after the name of the section that computed its numbers."""
        return [(name, found.sentence) for name, found in self.found.items() if found.sentence]

    @cached_property
    def data(self) -> dict[str, Any]:
        """The report as an object for `json.dumps`.

        The keys are the names of the sections and of the fields of their data, all the way down; `spectral_radius`
        repeats that of each layer, and `summary` is a list of objects (section, text). Numbers have 7 significant
        digits; one that is not finite is null. Ids are indices of `characters`.
        """
        names = ("name", "text_name", "characters", "activation", "notes")
        plain = {name: to_plain(getattr(self, name)) for name in names}
        plain |= {name: to_plain(self.get(name)) for name in read_words()}
        plain["summary"] = [{"section": name, "text": text} for name, text in self.summary]
        plain["spectral_radius"] = [layer["spectral_radius"] for layer in plain["spectrum"] or ()]
        return plain

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The figures of the page by name, drawn when they are first asked for; it takes a few seconds."""
        return draw_figures([self])

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, so that its style and its script leave the notebook alone."""
        page = html.escape(render_page([self], self.figures))
        return f'<iframe srcdoc="{page}" title="Report" style="width:100%;height:40em;border:0"></iframe>'


MEMORY = "The lengths differ: the context is what helps to predict, the gradient is how far back a loss can teach."
OPEN_TABLES = ("gradient_by_lag", "spectrum", "lyapunov", "fixed_points")
"""Sections whose table the reader need not open."""
SEEDS = "of runs that differ in their seeds alone, the mean, with its standard error"
"""What the caption of a figure of several runs says of bands."""
MISSING = '<p class="missing">Not available for this run; the limits at the top say why.</p>'


def draw_figures(reports: Sequence[Report]) -> dict[str, Figure]:
    """Return every figure by the name of its section: `NAME`, or `NAME-1`, ... where each of several runs has its own.

    In the others, runs that differ in `seed` alone are drawn as their mean.
    """
    figures: dict[str, Figure] = {}
    with figure_style():
        for name in read_words():
            found = {report: report.found[name] for report in reports if name in report.found}
            for run, report in enumerate(reports, 1):
                if report in found and (draw := found[report].figure):
                    figures[name if len(reports) == 1 else f"{name}-{run}"] = draw()
            panels = next(iter(found.values())).panels if len(reports) == 1 and found else _compare(found)
            if panels:
                figures[name] = draw_panels(panels)
    return figures


def _compare(found: Mapping[Report, Found]) -> Sequence[Panel]:
    """Return the panels of a section of several runs."""
    groups: dict[str, list[Report]] = {}
    for report in found:
        groups.setdefault(report.recipe, []).append(report)
    named = {f"{runs[0].name}, {len(runs)} seeds" if runs[1:] else runs[0].name: runs for runs in groups.values()}
    return compare_panels({name: [found[run].panels for run in runs] for name, runs in named.items()})


def render_page(reports: Sequence[Report], figures: Mapping[str, Figure]) -> str:
    """Return a page on some runs; the same reports give the same page.

    Args:
        reports: One or more.
        figures: What `draw_figures` returned for them.

    Returns:
        HTML that loads nothing and runs no script but its own.

    """
    words, style, script = read_words(), theme_css() + _asset("page.css"), _asset("page.js")
    with figure_style():
        sections = "".join(_section(name, words[name], reports, figures) for name in words)
    return Template(_asset("page.html")).substitute(
        policy=content_policy(style, script),
        version=__version__,
        title=safe(", ".join(report.name for report in reports)),
        style=style,
        summary=_summary(reports),
        links="".join(f'<li><a href="#{name}">{safe(words[name]["title"])}</a></li>' for name in words),
        sections=sections,
        script=script,
    )


@functools.cache
def read_words() -> dict[str, Any]:
    """Return what the page says of each section, by its name, in the order of the page."""
    words: dict[str, Any] = yaml.safe_load(_asset("words.yaml"))
    return words


def _asset(name: str) -> str:
    return files("charlm.inspection").joinpath("assets", name).read_text(encoding="utf-8")


def _summary(reports: Sequence[Report]) -> str:
    """Return the first sentence on each run, a table of the runs, and what was left out."""
    rows, sentences, notes = [], "", ""
    for report in reports:
        network, loss = report.get("network"), report.get("loss_by_class")
        scored = (None, None) if loss is None else ((loss.nats_per_char, loss.standard_error), len(loss.positions))
        rows.append((report.name, report.text_name, report.activation, network and network.parameters, *scored))
        subject, of = ("This network", "") if len(reports) == 1 else (safe(report.name), f" of {report.name}")
        if links := "; ".join(f'<a href="#{name}">{safe(text)}</a>' for name, text in report.summary):
            sentences += f'<p class="summary">{subject} {links}.</p>'
        if items := "".join(f"<li>{safe(note)}</li>" for note in report.notes):
            notes += folded(f"Limits{of}: what was left out", f"<ul>{items}</ul>")
    if 'href="#usable_context"' in sentences and 'href="#gradient_by_lag"' in sentences:
        sentences += f'<p class="help">{MEMORY}</p>'
    head = ("run", "text read", "f", "weights", "nats per character", "characters scored")
    return sentences + table(head, rows, caption="Runs on this page") + notes


def _section(name: str, words: Mapping[str, Any], reports: Sequence[Report], figures: Mapping[str, Figure]) -> str:
    """Return a section: the figure of all runs, then what each of them has."""
    label, caption = ", ".join(report.name for report in reports), words.get("caption", "")
    has_seeds = len({report.recipe for report in reports}) < len(reports)
    band = words.get("band", "") if len(reports) == 1 else SEEDS if has_seeds else ""
    content = _figure(figures[name], label, f"{caption}{band and f'; {band}'}") if name in figures else ""
    for run, report in enumerate(reports, 1):
        found, figure = report.found.get(name), figures.get(f"{name}-{run}")
        content += f"<h3>{safe(report.name)}</h3>" if len(reports) > 1 else ""
        content += "" if figure is None else _figure(figure, report.name, caption)
        content += MISSING if found is None else _body(name, words, found)
    panels = reports[0].found[name].panels if len(reports) == 1 and name in reports[0].found else []
    drawn = {"alone": len(reports) == 1, "ngrams": any("gram" in curve for panel in panels for curve in panel.besides)}
    text = " ".join([words["text"], *(words[key] for key, is_drawn in drawn.items() if is_drawn and key in words)])
    return (
        f'<section id="{name}"><div class="words"><h2>{safe(words["title"])}</h2>{equation(words["equation"])}'
        f'<p>{safe(text)}</p></div><div class="runs">{content}</div></section>\n'
    )


def _figure(figure: Figure, label: str, caption: str) -> str:
    shown = safe(caption[0].upper() + caption[1:])
    return f"<figure>{image(figure, label=f'{label}: {caption}')}<figcaption>{shown}.</figcaption></figure>"


def _body(name: str, words: Mapping[str, Any], found: Found) -> str:
    """Return what a section shows of a run below its figure."""
    html, positions = found.html, found.positions
    if len(positions):
        first, last, count = int(positions[0]), int(positions[-1]), len(positions)
        spaced = "" if count > last - first else "evenly spaced, "
        html += f'<p class="help">Rests on {counted(count, "character")}, {spaced}{first:,} to {last:,}.</p>'
    if found.items:
        cells = table(words["columns"], table_rows(found, words["columns"]), caption=words["table"])
        html += cells if name in OPEN_TABLES else folded(f"Numbers: {words['table']}", cells)
    return html


def table_rows(found: Found, columns: Mapping[str, str]) -> list[list[object]]:
    """Return the cells of a table; a column is a field of the items, or a pair of a mean and its standard error."""
    pairs = [[_value(item, name) for name in names.split()] for item in found.items for names in columns.values()]
    cells: list[object] = [tuple(pair) if len(pair) > 1 else pair[0] for pair in pairs]
    return [cells[start : start + len(columns)] for start in range(0, len(cells), len(columns))]


def _value(item: Any, path: str) -> object:
    """Return a field of an object or a dictionary, or of one in it after a dot; None if that is None."""
    for name in path.split("."):
        if item is not None:
            item = item[name] if isinstance(item, dict) else getattr(item, name)
    return item
