"""Draw the pictures of docs/understanding.md again, from the runs that its commands make.

    PYTHONPATH=tests python -m docs.pictures

reads the runs in runs/ and writes docs/pictures/*.svg, in colours that follow the theme of the
reader. network.svg was drawn once.
"""

import re
from pathlib import Path

from charlm.inspection.inspecting import inspect_runs
from charlm.inspection.report import SECTIONS as REPORT_SECTIONS
from charlm.inspection.report import group_reports, results_of
from charlm.inspection.style import COLOURS, Figure, draw, svg, theme_css

PICTURES = Path(__file__).parents[2] / "docs/pictures"
SECTIONS = {
    "usable-context": ("usable_context", ["runs/plays"]),
    "memory": ("memory", ["runs/plays"]),
    "gains": ("memory", ["runs/gain-0.5", "runs/gain-1", "runs/gain-2"]),
    "units": ("units", ["runs/plays"]),
}
"""The section and the runs of each picture."""


def themed(figure: Figure) -> str:
    """Return a figure as SVG whose colours are CSS variables, light or dark."""
    drawn = svg(figure).decode()
    for name, (light, _) in COLOURS.items():
        drawn = re.sub(re.escape(light), f"var(--{name})", drawn, flags=re.IGNORECASE)
    style = theme_css().replace(":root", "svg") + "svg{background:var(--paper)}"
    head, end, rest = drawn.partition('version="1.1">\n')
    return f"{head}{end} <style>{style}</style>\n{rest}"


if __name__ == "__main__":
    for picture, (section, runs) in SECTIONS.items():
        results = results_of(group_reports(inspect_runs(runs, only=section)), section)
        plot = REPORT_SECTIONS[section].plot
        assert plot is not None
        drawn = themed(draw(plot, results))
        (PICTURES / f"{picture}.svg").write_text(drawn, encoding="utf-8")
