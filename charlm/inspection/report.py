"""The sections of a report, the report on one network, and groups of runs that differ in seeds."""

import html
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charlm.api.evaluation import check_length
from charlm.checks import check_name
from charlm.errors import CharlmError
from charlm.inspection import (
    loss_by_class,
    memory,
    network,
    spectrum,
    surprise,
    units,
    usable_context,
)
from charlm.inspection.reading import Reading
from charlm.inspection.style import SERIES, Figure, Line, to_plain
from charlm.measures.estimates import UNKNOWN, Estimate, Measured, check_same, over_runs
from charlm.runs.comparing import SEED, differing_settings, group_by_seed

SECTIONS: Mapping[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (surprise, loss_by_class, usable_context, units, memory, spectrum, network)
}
"""The module of each section by its name, in the order of the page.

A module has TITLE, EQUATION and TEXT, which are HTML, `measure(reading)`, which returns a dataclass
and may raise CharlmError or LinAlgError, and `details(results)`, which returns tables and other
HTML; `results` is a mapping from the look of each run to what was measured. For a figure, it also
has `plot(figure, results)` and `caption(results)`.
"""


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
            "text_name": reading.text_name,
            "characters": reading.characters,
            "activation": reading.parameters.activation,
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
        from charlm.inspection.page import draw

        groups = group_reports([self])
        names = [name for name in self.results if hasattr(SECTIONS[name], "plot")]
        return {name: draw(name, results_of(groups, name)) for name in names}

    def _repr_html_(self) -> str:
        """Return the page in a frame, which isolates its style and script from a notebook."""
        from charlm.inspection.page import render_page

        style = "width:100%;height:40em;border:0"
        page = html.escape(render_page([self]))
        return f'<iframe srcdoc="{page}" title="Report" style="{style}"></iframe>'


def inspect_text(
    reading: Reading,
    *,
    only: Collection[str] = (),
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Make the report on a network that reads a text.

    The products of NumPy run on a single thread. The products are small, and several threads would
    wait for each other: next to other work, eigenvalues and exponents took seven times as long.

    Args:
        reading: The network and the text.
        only: Names of the sections to make; none = all.
        progress: Called with the name of each section before it is made.

    Raises:
        CharlmError: The text has fewer than 2 characters, or a loss is not finite.

    """
    check_length(reading.text_name, len(reading.text), reading.left_out)
    results: dict[str, Any] = {}
    notes = reading.notes()
    # values that are not finite are null in the JSON, and gaps in the figures
    with threadpool_limits(1, "blas"), np.errstate(all="ignore"):
        for name, section in SECTIONS.items():
            if only and name not in only:
                continue
            progress(name.replace("_", " "))
            try:
                results[name] = section.measure(reading)
            except (CharlmError, np.linalg.LinAlgError) as error:
                if name in NEED_LOSSES:
                    raise
                notes.append(f"{section.TITLE}: missing, because of an error: {error}.")
    return Report(reading, results, tuple(notes))


LONGEST_LABEL = 40
"""Length in characters of the longest label that a legend shows."""
NEED_LOSSES = ("surprise", "loss_by_class", "usable_context")
"""Sections that only fail if a loss is not finite."""


# Groups of runs


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seeds, or a single run."""

    settings: Mapping[str, Any]
    """The settings that differ between the groups, by their dotted keys."""
    runs: Mapping[Line, Report]
    """The runs by their look in figures."""

    def __post_init__(self) -> None:
        """Raise CharlmError if the runs read different texts."""
        check_same(report.measured for report in self.runs.values())

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The mean of each of the `estimates_of` the runs."""
        of_runs = [estimates_of(report.results) for report in self.runs.values()]
        return {name: over_runs([run[name] for run in of_runs]) for name in of_runs[0]}


def estimates_of(results: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return the numbers of a run that groups are compared by; unknown if a section is missing.

    Half-life and exponent are those of the top layer.
    """
    names = ("nats_per_char", "context_used", "half_life", "largest_exponent")
    estimates = dict.fromkeys(names, UNKNOWN)
    if loss := results.get("loss_by_class"):
        estimates["nats_per_char"] = loss.nats_per_char
    if context := results.get("usable_context"):
        estimates["context_used"] = Estimate(context.used)
    if found := results.get("memory"):
        estimates["half_life"] = found.gradient_by_lag[-1].half_life
        estimates["largest_exponent"] = found.lyapunov.layers[-1].exponent
    return estimates


def group_reports(reports: Sequence[Report]) -> list[Group]:
    """Return the groups of runs that read the same text and differ only in their seed.

    A run is labelled by the settings that differ between all runs, or by its name if these are the
    same for several runs or too long for a legend.
    """
    groups = group_by_seed(reports)
    keys = [*groups[0][0], *({SEED} & {*differing_settings(reports)})]
    labels = {_label(report.settings, keys) for report in reports}
    are_named = len(labels) < len(reports) or max(map(len, labels)) > LONGEST_LABEL
    made = []
    for index, (settings, group) in enumerate(groups):
        colour = SERIES[index % len(SERIES)]
        name = _label(settings, settings)
        if not 0 < len(name) <= LONGEST_LABEL:
            name = group[0].reading.name
        runs = {}
        for report in group:
            label = report.reading.name if are_named else _label(report.settings, keys)
            runs[Line(label, name, colour)] = report
        made.append(Group(settings, runs))
    return made


def _label(settings: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Return the values of some settings: "sequence_length 4, seed 1"."""
    return ", ".join(f"{key.rpartition('.')[2]} {settings.get(key)}" for key in keys)


def results_of(groups: Sequence[Group], name: str) -> dict[Line, Any]:
    """Return the measurements of a section for each run; runs without the section are left out."""
    runs = [run for group in groups for run in group.runs.items()]
    return {line: report.results[name] for line, report in runs if name in report.results}
