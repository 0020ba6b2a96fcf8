"""The report on a network: what every section has found, as JSON, and on a page, beside those on other networks.

A page is one file of HTML: everything in it, nothing from elsewhere, and a content policy that says so. Its numbers are
those of the reports.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from threadpoolctl import threadpool_limits

from charlm import __version__
from charlm.errors import CharlmError, check_name, counted
from charlm.inspection.context import make_context
from charlm.inspection.diagram import make_network
from charlm.inspection.figures import figure_style, image, share_limits, theme_css
from charlm.inspection.fixed_points import make_fixed_points
from charlm.inspection.loss_by_class import make_loss
from charlm.inspection.markup import equation, folded, safe, source_hash, table, to_plain
from charlm.inspection.memory import make_gradient, make_impulse
from charlm.inspection.reading import Found, Reading
from charlm.inspection.stability import make_lyapunov, make_spectrum
from charlm.inspection.surprise import make_surprise
from charlm.inspection.units import make_units
from charlm.storage.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECTIONS: Mapping[str, Callable[[Reading], Found]] = {
    "network": make_network,
    "surprise": make_surprise,
    "loss_by_class": make_loss,
    "usable_context": make_context,
    "gradient_by_lag": make_gradient,
    "impulse_response": make_impulse,
    "spectrum": make_spectrum,
    "lyapunov": make_lyapunov,
    "fixed_points": make_fixed_points,
    "units": make_units,
}
"""What makes each section, in the order of the page: what was built, what it predicts, what it remembers, how.

A name is the key of the JSON, the name of the figure, and the anchor. A section that cannot be made raises CharlmError
or LinAlgError."""


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
    notes: tuple[str, ...]
    """What was left out, each a sentence."""
    found: Mapping[str, Found]
    """What each section has found, by its name; one that could not be made is missing, and `notes` says why."""

    def get(self, name: str) -> Any:
        """Return the data of a section, None if it is missing; raise CharlmError if there is no such section."""
        check_name("section", name, SECTIONS)
        return self.found[name].data if name in self.found else None

    @property
    def summary(self) -> list[tuple[str, str]]:
        """The parts of a sentence about the network, each after the name of the section that computed its numbers."""
        return [
            (name, self.found[name].sentence) for name in SECTIONS if name in self.found and self.found[name].sentence
        ]


def inspect_text(
    reading: Reading, *, only: Collection[str] = (), progress: Callable[[str], object] = lambda _: None
) -> Report:
    """Make the report on a network that reads a text.

    NumPy's products run on a single thread: they are small, and their threads spin while they wait for each other, so
    that beside other work eigenvalues and exponents took seven times as long.

    Args:
        reading: The network and the text.
        only: The names of the sections to make; none = all.
        progress: Called with the name of each section before it is made.

    Raises:
        CharlmError: the text has less than 2 characters, or its losses are not finite.

    """
    if len(reading.text) < 2:
        short = counted(len(reading.text), "character")
        raise CharlmError(f"{reading.text_name}: {short}: at least 2 are needed for a report")
    found: dict[str, Found] = {}
    notes = reading.notes()
    # values that are not finite are null in the JSON, and gaps in the figures
    with threadpool_limits(1, "blas"), np.errstate(all="ignore"):
        for name, make in SECTIONS.items():
            if only and name not in only:
                continue
            progress(name.replace("_", " "))
            try:
                found[name] = make(reading)
            except (CharlmError, np.linalg.LinAlgError) as error:
                if name == "surprise":  # nothing can be said of such losses
                    raise
                notes.append(f"{name.replace('_', ' ').capitalize()}: missing: {error}.")
    return Report(
        name=reading.name,
        text_name=reading.text_name,
        characters=reading.characters,
        activation=reading.parameters.activation,
        notes=tuple(notes),
        found=found,
    )


def to_json(report: Report) -> dict[str, Any]:
    """Return a report as an object for `json.dumps`.

    The keys are the names of the sections and of the fields of their data, all the way down; `spectral_radius` repeats
    that of each layer, and `summary` is a list of objects (section, text). Numbers have 7 significant digits; one that
    is not finite is null. Ids are indices of `characters`.
    """
    plain = {name: to_plain(value) for name, value in vars(report).items() if name != "found"}
    plain |= {name: to_plain(report.get(name)) for name in SECTIONS}
    plain["summary"] = [{"section": name, "text": text} for name, text in report.summary]
    plain["spectral_radius"] = [layer["spectral_radius"] for layer in plain["spectrum"] or ()]
    return plain


MEMORY = "The lengths differ: the context is what helps to predict, the gradient is how far back a loss can teach."
OPEN_TABLES = ("gradient_by_lag", "spectrum", "lyapunov", "fixed_points")
"""Sections whose table the reader need not open."""
OWN_LIMITS = ("network", "fixed_points")
"""Sections whose figures of several runs have axes of their own."""
MISSING = '<p class="missing">Not available for this run; the limits at the top say why.</p>'


def write_page(reports: Sequence[Report], out: Path) -> None:
    """Write a page on some runs, whole or not at all.

    Args:
        reports: One or more; they stand side by side.
        out: The file.

    Raises:
        CharlmError: the file cannot be written.

    """
    write_file(out, render_page(reports, draw_figures(reports)).encode())


def draw_figures(reports: Sequence[Report]) -> "dict[str, Figure]":
    """Return every figure by the name of its section: `NAME` for one run, `NAME-1`, ... for several."""
    figures: dict[str, Figure] = {}
    with figure_style():
        for name in SECTIONS:
            drawn = {
                _figure_name(name, run, reports): draw()
                for run, report in enumerate(reports)
                if name in report.found and (draw := report.found[name].figure)
            }
            if name not in OWN_LIMITS:
                share_limits([*drawn.values()])
            figures |= drawn
    return figures


def _figure_name(section: str, run: int, reports: Sequence[Report]) -> str:
    return section if len(reports) == 1 else f"{section}-{run + 1}"


def render_page(reports: Sequence[Report], figures: "Mapping[str, Figure]") -> str:
    """Return a page on some runs; the same reports give the same page.

    Args:
        reports: One or more; they stand side by side.
        figures: What `draw_figures` returned for them.

    Returns:
        HTML that loads nothing and runs no script but its own.

    """
    words = read_words()
    style, script = theme_css() + _asset("page.css"), _asset("page.js")
    title = "charlm inspect: " + ", ".join(report.name for report in reports)
    with figure_style():
        sections = "".join(_section(name, words[name], reports, figures) for name in SECTIONS)
    links = "".join(f'<li><a href="#{name}">{safe(words[name]["title"])}</a></li>' for name in SECTIONS)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="charlm {__version__}"><link rel="icon" href="data:,">'
        f"<title>{safe(title)}</title><style>{style}</style></head>\n"
        f'<body class="{"one" if len(reports) == 1 else "many"}">'
        f"<header><h1>What the network does</h1>{_summary(reports)}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>{sections}</main>\n'
        f"<footer><p>Written by charlm {__version__}. This page loads nothing from elsewhere. "
        f"<code>charlm inspect --json</code> prints its numbers.</p></footer>\n"
        f"<script>{script}</script></body></html>\n"
    )


def read_words() -> dict[str, Any]:
    """Return what the page says of each section, by its name."""
    words: dict[str, Any] = yaml.safe_load(_asset("words.yaml"))
    return words


def _asset(name: str) -> str:
    return files("charlm.inspection").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a content policy that allows this style and this script, and no connection at all."""
    return (
        f"default-src 'none'; style-src {source_hash(style)}; script-src {source_hash(script)}; img-src data:; "
        f"base-uri 'none'; form-action 'none'"
    )


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
    head = ("run", "text read", "f", "parameters", "nats per character", "characters scored")
    return sentences + table(head, rows, caption="Runs on this page") + notes


def _section(name: str, words: Mapping[str, Any], reports: Sequence[Report], figures: "Mapping[str, Figure]") -> str:
    """Return a section with a column for each run."""
    columns = ""
    for run, report in enumerate(reports):
        found, figure = report.found.get(name), figures.get(_figure_name(name, run, reports))
        columns += f'<div class="run"><h3>{safe(report.name)}</h3>' if len(reports) > 1 else '<div class="run">'
        if figure is not None:
            caption = words["caption"]
            columns += f"<figure>{image(figure, label=f'{report.name}: {caption}')}"
            columns += f"<figcaption>{safe(caption[0].upper() + caption[1:])}.</figcaption></figure>"
        columns += f"{MISSING if found is None else _body(name, words, found)}</div>"
    return (
        f'<section id="{name}"><div class="words"><h2>{safe(words["title"])}</h2>{equation(words["equation"])}'
        f'<p>{safe(words["text"])}</p></div><div class="runs">{columns}</div></section>\n'
    )


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
