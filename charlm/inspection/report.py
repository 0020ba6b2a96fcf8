"""A report on one network, groups of runs that differ in seeds, and the page on their reports.

The page is a single HTML file that loads nothing from elsewhere; its content policy enforces this.
"""

import html
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any, Literal

import numpy as np

from charlm.api.viewer import VIEWER_SCRIPT, VIEWER_STYLE, content_policy, safe
from charlm.checks import check_name
from charlm.core.reading import one_thread
from charlm.errors import CharlmError
from charlm.events import OnEvent, Progress, ignore
from charlm.inspection import loss_by_class, memory, surprise, units, usable_context, weights
from charlm.inspection.reading import Reading
from charlm.inspection.style import (
    SERIES,
    Cell,
    Figure,
    Line,
    Section,
    draw,
    table,
    theme_css,
    to_plain,
)
from charlm.measures.estimates import (
    UNKNOWN,
    Estimate,
    Measured,
    SeedsDifference,
    over_runs,
)
from charlm.runs.summary import group_by_seed
from charlm.version import __version__

SECTIONS: Mapping[str, Section] = {
    section.name: section
    for section in (
        surprise.SECTION,
        loss_by_class.SECTION,
        usable_context.SECTION,
        units.SECTION,
        memory.SECTION,
        weights.SPECTRUM,
        weights.NETWORK,
    )
}
"""The sections by name, in the order of the page."""
LONGEST_LABEL = 60
"""Length in characters of the longest label that a legend shows."""
HELP = (
    "A loss of L nats per character corresponds to guessing among exp(L) equally likely "
    "characters. Context used: the smallest number of characters before a prediction such that all "
    "earlier ones together improve the loss by at most 0.01 nats, or not beyond chance. "
    "Difference lasts: the number of characters after which a replaced character still changes the "
    "state by a tenth of its first change. Largest exponent: the rate, per character, at which a "
    "small difference of the state finally grows or, below 0, fades. Characters of the text are "
    "counted from 1."
)
ERRORS = {
    "text": "\N{PLUS-MINUS SIGN} is one standard error over the text: how much a number would vary "
    "between texts like this one, for the same network.",
    "seeds": "\N{PLUS-MINUS SIGN} is one standard error over the seeds: how much the mean of a row "
    "would vary with other seeds, on the same text.",
}
"""Meaning of the errors in the first table, by their source."""
COLUMNS = {
    "nats_per_char": "nats per character",
    "context_used": "context used",
    "difference_lasts": "difference lasts",
    "largest_exponent": "largest exponent",
}
"""Headings of the numbers that groups are compared by, by their keys in the JSON."""


@dataclass(frozen=True, eq=False)
class Report:
    """The measurements of one network."""

    reading: Reading
    """The network and the text."""
    results: Mapping[str, Any]
    """Measurements of each section, by its name. A section that failed is missing."""
    notes: tuple[str, ...]
    """Sentences about the parts that were left out."""

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the run by its dotted key; see `Reading.settings`."""
        return self.reading.settings

    @property
    def measured(self) -> Measured:
        """The characters that were read."""
        return self.reading.measured

    @property
    def nats_per_char(self) -> float | None:
        """Loss on these characters; None if it was not measured."""
        return estimates_of(self.results)["nats_per_char"].value

    def get(self, name: str) -> Any:
        """Return the measurements of a section; None if they are missing.

        Raises:
            CharlmError: There is no such section.

        """
        check_name("section", name, SECTIONS)
        return self.results.get(name)

    @property
    def data(self) -> dict[str, Any]:
        """The report as an object for `json.dumps`.

        The keys are the names of the sections and of the fields of their data; `memory` is replaced
        by its fields, and `spectral_radius` repeats the radius of each layer. Numbers have 7
        significant digits; a number that is not finite is null. Ids are indices of `characters`,
        and the first character of the text is character 1.
        """
        reading = self.reading
        plain = {
            "name": reading.name,
            "text_name": reading.text.name,
            "characters": reading.trained.vocabulary.characters,
            "notes": self.notes,
            **self.results,
        }
        if "surprise" in plain:
            plain["surprise"] = surprise.list_characters(plain["surprise"])
        if "memory" in plain:
            plain |= vars(plain.pop("memory"))
        if "spectrum" in plain:
            plain["spectral_radius"] = [layer.spectral_radius for layer in plain["spectrum"]]
        return {key: to_plain(value) for key, value in plain.items()}

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures of the page by section; drawing them takes a few seconds."""
        groups = group_reports([self])
        plots = {name: SECTIONS[name].plot for name in self.results}
        return {name: draw(plot, results_of(groups, name)) for name, plot in plots.items() if plot}

    def _repr_html_(self) -> str:
        """Return the page in a frame, which isolates its style and script from a notebook."""
        style = "width:100%;height:40em;border:0"
        page = html.escape(render_page([self]))
        return f'<iframe srcdoc="{page}" title="Report" style="{style}"></iframe>'


def inspect_text(
    reading: Reading,
    *,
    only: Collection[str] = (),
    on_event: OnEvent = ignore,
) -> Report:
    """Make the report on a network that reads a text.

    The products of NumPy run on a single thread. The products are small, and several threads would
    wait for each other: next to other work, eigenvalues and exponents took seven times as long. A
    section that cannot be measured is left out, with a note.

    Args:
        reading: The network and the text.
        only: Names of the sections to make; none = all.
        on_event: Called with the progress before each section.

    Raises:
        CharlmError: The text has fewer than 2 characters.

    """
    reading.text.check_length()
    results: dict[str, Any] = {}
    notes = reading.notes()
    names = [name for name in SECTIONS if name in (only or SECTIONS)]
    # values that are not finite are null in the JSON, and gaps in the figures
    with one_thread(), np.errstate(all="ignore"):
        for done, name in enumerate(names):
            section = SECTIONS[name]
            details = f"{reading.name}: {name.replace('_', ' ')}"
            on_event(Progress("report", done, len(names), "part", details))
            try:
                results[name] = section.measure(reading)
            except (CharlmError, np.linalg.LinAlgError) as error:
                notes.append(f"{section.title}: missing, because of an error: {error}.")
    return Report(reading, results, tuple(notes))


# Groups of runs


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seeds, or a single run."""

    settings: Mapping[str, Any]
    """The settings that differ between the groups, by their dotted keys."""
    runs: Mapping[Line, Report]
    """The runs by their look in figures."""
    errors_over: Literal["seeds", "text"]
    """Source of the errors of `estimates`: the seeds if any group has several runs."""
    estimates: Mapping[str, Estimate]
    """The means of the numbers of the runs, by the keys of COLUMNS."""
    above_previous: SeedsDifference | None
    """Difference of the loss from the previous group, if that read the same text."""


def estimates_of(results: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return the numbers of a run by the keys of COLUMNS; unknown if a section is missing."""
    estimates = dict.fromkeys(COLUMNS, UNKNOWN)
    if loss := results.get("loss_by_class"):
        estimates["nats_per_char"] = loss.nats_per_char
    if context := results.get("usable_context"):
        estimates["context_used"] = Estimate(context.used)
    if found := results.get("memory"):
        estimates["difference_lasts"] = Estimate(found.impulse_response.reach)
        estimates["largest_exponent"] = found.lyapunov.largest
    return estimates


def group_reports(reports: Sequence[Report]) -> list[Group]:
    """Return the groups of runs that read the same text and differ only in their seed.

    Tables name a run by its path. Legends name the settings of a group, or its first run if they
    are too long.
    """
    groups = group_by_seed(reports)
    has_seeds = len(groups) < len(reports)
    made = []
    for index, group in enumerate(groups):
        colour = SERIES[index % len(SERIES)]
        values = [f"{key.rpartition('.')[2]} {value}" for key, value in group.settings.items()]
        name = ", ".join(values)
        if len(groups) > 1 and not 0 < len(name) <= LONGEST_LABEL:
            name = group.runs[0].reading.name
        runs = {}
        for report in group.runs:
            label = report.reading.name if len(reports) > 1 else ""
            runs[Line(label, name, colour)] = report
        found = [estimates_of(report.results) for report in group.runs]
        means = {key: over_runs([estimates[key] for estimates in found]) for key in COLUMNS}
        made.append(
            Group(
                group.settings,
                runs,
                errors_over="seeds" if has_seeds else "text",
                estimates=means if has_seeds else found[0],
                above_previous=group.above_previous,
            )
        )
    return made


def results_of(groups: Sequence[Group], name: str) -> dict[Line, Any]:
    """Return the measurements of a section for each run; runs without the section are left out."""
    runs = [run for group in groups for run in group.runs.items()]
    return {line: report.results[name] for line, report in runs if name in report.results}


# The page


def render_page(reports: Sequence[Report]) -> str:
    """Return an HTML page on one or more runs; the same reports give the same page."""
    groups = group_reports(reports)
    notes = dict.fromkeys(f"Text: {report.reading.text.name}." for report in reports)
    notes |= dict.fromkeys(note for report in reports for note in report.notes)
    style = theme_css() + VIEWER_STYLE + _asset("page.css")
    script = VIEWER_SCRIPT + _asset("page.js")
    shown = [section for section in SECTIONS.values() if results_of(groups, section.name)]
    links = [f'<li><a href="#{section.name}">{section.title}</a></li>' for section in shown]
    return Template(_asset("page.html")).substitute(
        policy=content_policy(style, script),
        version=__version__,
        title=safe(", ".join(report.reading.name for report in reports)),
        style=style,
        summary=_table_of(groups),
        notes="".join(f'<p class="help">{safe(note)}</p>' for note in notes),
        links="".join(links),
        sections="".join(each.to_html(results_of(groups, each.name)) for each in shown),
        script=script,
    )


def _asset(name: str) -> str:
    return files("charlm.inspection").joinpath("assets", name).read_text(encoding="utf-8")


def _table_of(groups: Sequence[Group]) -> str:
    """Return the table of the groups: the settings that differ, their numbers and differences."""
    keys = groups[0].settings
    has_seeds = groups[0].errors_over == "seeds"
    rows: list[Sequence[Cell]] = []
    for group in groups:
        names = ", ".join(report.reading.name for report in group.runs.values())
        values = [group.settings[key] for key in keys]
        settings = [value if type(value) is int else str(value) for value in values]
        seeds = [len(group.runs)] * has_seeds
        rows.append((*settings, *seeds, *group.estimates.values(), names))
    heads = [key.rpartition(".")[2] for key in keys] + ["seeds"] * has_seeds
    caption = f"{HELP} {ERRORS[groups[0].errors_over]}"
    shown = table((*heads, *COLUMNS.values(), "runs"), rows, caption=caption)
    for group in groups:
        if group.above_previous is not None:
            line, *_ = group.runs
            shown += f"<p>{safe(f'{line.group}: {group.above_previous}.')}</p>"
    return shown
