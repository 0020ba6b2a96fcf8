"""What all figures have in common: colours, the canvas, pieces that several draw, and figures as images."""

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import charlm.inspection
from charlm.inspection.look import (
    BLUE,
    COLOURS,
    INK,
    ORANGE,
    canvas,
    image,
    log_scale,
    look,
    png_file,
    share_limits,
    svg_file,
)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour by WCAG 2.2, 0 to 1."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours by WCAG 2.2, 1 to 21."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


TURN = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
"""hue-rotate(180deg) of https://www.w3.org/TR/filter-effects-1/ for linear channels of red, green and blue."""


def turned(colour: str) -> str:
    """Return a colour of a figure as the page shows it in the dark theme."""
    channels = 1 - np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in np.clip(TURN @ channels, 0, 1))


@pytest.mark.parametrize("name", [name for name in COLOURS if name not in {"paper", "grid"}])
def test_every_colour_of_letters_and_lines_stands_out_from_the_paper(name: str) -> None:
    (light, dark), (paper, dark_paper) = COLOURS[name], COLOURS["paper"]
    for colour, ground in ((light, paper), (dark, dark_paper), (turned(light), dark_paper)):
        assert contrast(colour, ground) >= 4.5


def test_the_users_own_settings_do_not_count_and_come_back() -> None:
    with matplotlib.rc_context({"font.size": 40, "axes.grid": False}):
        with look():
            figure, (axes,) = canvas("a")
            assert axes.title.get_fontsize() == 9
        assert matplotlib.rcParams["font.size"] == 40
    assert isinstance(figure, Figure)


def test_no_module_imports_pyplot() -> None:
    sources = [source.read_text(encoding="utf-8") for source in Path(charlm.inspection.__file__).parent.rglob("*.py")]
    assert any("import matplotlib" in source or "from matplotlib" in source for source in sources)
    assert not any(re.search(r"import.*pyplot|pyplot import", source) for source in sources)


def test_figures_of_several_runs_share_their_limits() -> None:
    first, (one,) = canvas("a")
    second, (two,) = canvas("a")
    one.plot([0, 1], [0, 10])
    two.plot([0, 5], [-3, 1])
    share_limits([first, second])
    assert one.get_xlim() == two.get_xlim()
    assert one.get_ylim() == two.get_ylim()
    assert one.get_ylim()[0] < -3 < 10 < one.get_ylim()[1]


def test_an_axis_without_a_positive_value_stays_linear() -> None:
    _, (axes,) = canvas("a")
    log_scale(axes, [0.0, 0.0])
    assert axes.get_yscale() == "linear"
    log_scale(axes, [0.0, 1.0])
    assert axes.get_yscale() == "log"


def drawing(text: str = "a") -> Figure:
    """Return a figure with a line, a shaded area, a marker and a text."""
    with look():
        figure, (axes,) = canvas("a")
        axes.plot([0, 1, 2], [1, 3, 2], color=BLUE, marker="o", label="line")
        axes.fill_between([0, 1], [0, 0], [1, 1], color=ORANGE, alpha=0.2)
        axes.text(1, 1, text, color=INK, fontsize=7, fontweight="bold")
    return figure


def test_the_same_figure_gives_the_same_bytes_without_the_time() -> None:
    with look():
        first, second = ((svg_file(figure), png_file(figure)) for figure in (drawing(), drawing()))
    assert first == second
    assert not re.search(rb"20\d\d-\d\d", first[0])


def test_an_image_is_a_whole_file_that_runs_nothing_and_loads_nothing() -> None:
    with look():
        html = image(drawing(), label="it")
    data = re.fullmatch(r'<img class="chart" alt="it" src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)">', html)
    assert data
    root = ElementTree.fromstring(base64.b64decode(data[1]))
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "image", "foreignObject"}
        for name, value in element.attrib.items():
            assert not name.rpartition("}")[2].startswith("on")
            assert not name.endswith("href") or value.startswith("#")


@pytest.mark.filterwarnings("error")
def test_a_character_that_the_font_lacks_is_drawn_without_a_warning() -> None:
    with look():
        assert "\u4e2d".encode() in svg_file(drawing("\u4e2d"))


def test_what_an_image_shows_is_told_without_markup_or_controls() -> None:
    with look():
        assert 'alt="a &lt; &quot;b\\u202e\\x1b"' in image(drawing(), label='a < "b\u202e\x1b')
