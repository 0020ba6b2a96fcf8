"""The page on one or several reports: a single HTML file that loads nothing from elsewhere.

Its content policy enforces this.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import chain
from string import Template
from typing import Any

from charlm.api.viewer import VIEWER_SCRIPT, VIEWER_STYLE, content_policy, safe
from charlm.inspection.memory import shown_half_life
from charlm.inspection.report import (
    SECTIONS,
    Group,
    Report,
    group_reports,
    results_of,
)
from charlm.inspection.style import (
    Figure,
    Line,
    figure_style,
    svg_url,
    table,
    theme_css,
)
from charlm.runs.folder import CORPUS, run_of
from charlm.text.corpus import is_corpus
from charlm.version import __version__
from charlm.wording import as_argument

LEGEND_LINE = 0.19
"""Height of a line of the legend, in inches."""
HELP = (
    "A loss of L nats per character corresponds to guessing among exp(L) equally likely "
    "characters. Half-life: the number of characters after which the gradient at the top layer has "
    "halved. Largest exponent: the mean logarithm of the factor per character by which a small "
    "difference of the top layer on its own grows. Characters of the text are counted from 1. "
    "\N{PLUS-MINUS SIGN} of a single run is one standard error over texts: how much a number would "
    "vary between texts like this one, for the same network."
)
RUNS_ERROR = (
    "\N{PLUS-MINUS SIGN} of several runs is one standard error over the runs: how much their mean "
    "would vary with other seeds, on the same text."
)
TABLE = "The runs, and what they are compared by."
DYNAMICS = ("memory", "spectrum", "network")
"""Sections below the heading "Dynamics"."""
COLUMNS = ("nats per character", "context used", "half-life", "largest exponent")
"""Headings of the numbers that groups are compared by."""
NO_RUN = (
    "The training text of this model is not in its folder, so its training cannot be repeated. To "
    "compare it with a network of your own: charlm train mytext.txt"
)


def draw(name: str, results: Mapping[Line, Any]) -> Figure:
    """Draw the figure of a section: axes below each other, with a legend at the top.

    Args:
        name: Name of a section with a figure.
        results: What the section has measured of each run, one or more.

    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(layout="constrained")
        SECTIONS[name].plot(figure, results)
        _draw_legend(figure)
    return figure


def _draw_legend(figure: Figure) -> None:
    """Draw a legend of all labels above the axes, and increase the height of the figure for it."""
    pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes)
    handles = {label: handle for handle, label in chain.from_iterable(pairs)}
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * len(handles))
    if handles:
        figure.legend([*handles.values()], [*handles], loc="outside upper left")


def render_page(reports: Sequence[Report]) -> str:
    """Return an HTML page on one or more runs; the same reports give the same page."""
    groups = group_reports(reports)
    notes = dict.fromkeys(f"Text: {report.reading.text_name}." for report in reports)
    notes |= dict.fromkeys(note for report in reports for note in report.notes)
    has_several = any(len(group.runs) > 1 for group in groups)
    explanation = f"{HELP} {RUNS_ERROR}" if has_several else HELP
    style = theme_css() + VIEWER_STYLE + _asset("page.css")
    script = VIEWER_SCRIPT + _asset("page.js")
    names = [name for name in SECTIONS if results_of(groups, name)]
    sections = {name: _section(name, results_of(groups, name)) for name in names}
    first = [section for name, section in sections.items() if name not in DYNAMICS]
    dynamics = [section for name, section in sections.items() if name in DYNAMICS]
    links = [f'<li><a href="#{name}">{SECTIONS[name].TITLE}</a></li>' for name in names]
    return Template(_asset("page.html")).substitute(
        policy=content_policy(style, script),
        version=__version__,
        title=safe(", ".join(report.reading.name for report in reports)),
        style=style,
        summary=_table_of(groups),
        help=safe(explanation),
        notes="".join(f'<p class="help">{safe(note)}</p>' for note in notes),
        links="".join(links),
        sections="".join(first),
        dynamics="".join(dynamics),
        experiments=_experiments(reports[0]),
        script=script,
    )


def _asset(name: str) -> str:
    return files("charlm.inspection").joinpath("assets", name).read_text(encoding="utf-8")


def _table_of(groups: Sequence[Group]) -> str:
    """Return the table of the groups of runs: the settings that differ, and their numbers."""
    keys = groups[0].settings
    rows = []
    for group in groups:
        names = ", ".join(report.reading.name for report in group.runs.values())
        settings = [str(group.settings[key]) for key in keys]
        nats, context, half_life, exponent = group.estimates.values()
        rows.append((names, *settings, nats, context, shown_half_life(half_life), exponent))
    heads = [key.rpartition(".")[2] for key in keys]
    return table(("runs", *heads, *COLUMNS), rows, caption=TABLE)


def _section(name: str, results: Mapping[Line, Any]) -> str:
    """Return a section: its words, its figure and its tables."""
    section = SECTIONS[name]
    figure = _figure(name, results) if hasattr(section, "plot") else ""
    return (
        f'<section id="{name}"><h2>{section.TITLE}</h2><p>{section.TEXT}</p>'
        f'<p class="equation">{section.EQUATION}</p>{figure}{section.details(results)}</section>\n'
    )


def _figure(name: str, results: Mapping[Line, Any]) -> str:
    """Return a figure with its caption."""
    caption = safe(SECTIONS[name].caption(results))
    url = svg_url(draw(name, results))
    return (
        f'<figure><img class="chart" alt="{caption}" src="{url}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _experiments(report: Report) -> str:
    """Return three experiments with a run as commands; without its text it cannot be repeated."""
    path = report.reading.path
    run = None if path is None else run_of(path)
    if run is None or not is_corpus(run / CORPUS):
        return f"<p>{safe(NO_RUN)}</p>"
    config = report.reading.trained.parse_config()
    length = config.training.sequence_length
    window = max(1, length // 4)
    batch = config.training.batch_size * length // window
    experiments = [
        ("layers", f"model.layers={2 if config.model.layers == 1 else 1}", LAYERS),
        ("windows", f"training.sequence_length={window} -s training.batch_size={batch}", WINDOWS),
        ("seed", f"seed={config.seed + 1}", SEED),
    ]
    folder = as_argument(run)
    begin = f"charlm train {folder}/{CORPUS} -c {folder}/config.yaml"
    if config.training.initial_weights is not None:
        begin += " -s training.initial_weights=null"
    parts = []
    for name, settings, text in experiments:
        new = as_argument(run.with_name(f"{run.name}-{name}"))
        compare = f"charlm inspect {folder} {new} --out comparison.html"
        commands = safe(f"{begin} -s {settings} -r {new}\n{compare}")
        parts.append(f"<p>{text}</p><pre><code>{commands}</code></pre>")
    return "".join(parts)


LAYERS = "Another number of layers: which layer remembers longer, and what does the loss gain?"
WINDOWS = (
    "Windows of a quarter, and as many characters in each step: how much of its context does the "
    "network still use?"
)
SEED = (
    "Another seed. A number that differs clearly between seeds is a property of this one network, "
    "not of its recipe."
)
