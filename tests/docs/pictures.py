"""Draw the pictures of docs/understanding.md again, from the runs that its commands make.

    PYTHONPATH=tests python -m docs.pictures

reads the runs in runs/ and writes docs/pictures/*.svg, in colours that follow the theme of the
reader.
"""

import re
from pathlib import Path

import charlm
from charlm.inspection.figures import COLOURS, PAPER, Figure, as_svg, figure_style, theme_css

PICTURES = Path(__file__).parents[2] / "docs/pictures"
SECTIONS = {
    "network": ("runs/plays", "network"),
    "usable-context": ("runs/plays", "usable_context"),
    "impulse-infinite": ("runs/plays", "impulse_response"),
    "impulse-finite": ("runs/no-memory", "impulse_response"),
    "units": ("runs/plays", "units"),
    "gradient-0.5": ("runs/gain-0.5", "gradient_by_lag"),
    "gradient-1": ("runs/gain-1", "gradient_by_lag"),
    "gradient-2": ("runs/gain-2", "gradient_by_lag"),
}
"""The run and the section of each picture."""


def themed(figure: Figure) -> str:
    """Return a figure as SVG whose colours are CSS variables, light or dark."""
    with figure_style():
        svg = as_svg(figure, background=PAPER).decode()
    for name, (light, _) in COLOURS.items():
        svg = re.sub(re.escape(light), f"var(--{name})", svg, flags=re.IGNORECASE)
    style = theme_css().replace(":root", "svg") + "svg{background:var(--paper)}"
    head, end, rest = svg.partition('version="1.1">\n')
    return f"{head}{end} <style>{style}</style>\n{rest}"


if __name__ == "__main__":
    for picture, (run, section) in SECTIONS.items():
        report = charlm.inspect(run, only=[section])
        (PICTURES / f"{picture}.svg").write_text(themed(report.figures[section]), encoding="utf-8")
