"""Figures as SVG: the same bytes every time, nothing that a content policy forbids, colours that follow the theme."""

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from charlm.inspection.figures.look import BLUE, INK, ORANGE, canvas, look
from charlm.inspection.figures.svg import inline_svg, png_file, svg_file, theme_css


def drawing(text: str = "a") -> Figure:
    """Return a figure with a line, a shaded area, a marker and a text."""
    with look():
        figure, ((axes,),) = canvas()
        axes.plot([0, 1, 2], [1, 3, 2], color=BLUE, marker="o", label="line")
        axes.fill_between([0, 1], [0, 0], [1, 1], color=ORANGE, alpha=0.2)
        axes.text(1, 1, text, color=INK, fontsize=7, fontweight="bold")
    return figure


def inline(text: str = "a", *, name: str = "one") -> str:
    with look():
        return inline_svg(drawing(text), name=name, label="a < b")


def test_the_same_figure_gives_the_same_bytes() -> None:
    with look():
        first, second = ((svg_file(figure, name="f", label="f"), png_file(figure)) for figure in (drawing(), drawing()))
    assert first == second
    assert inline() == inline()


def test_nothing_in_it_depends_on_the_time() -> None:
    assert not re.search(rb"20\d\d-\d\d", svg_file(drawing(), name="f", label="f"))


def test_there_is_no_style_no_script_and_no_address_in_it() -> None:
    root = ElementTree.fromstring(inline().replace(' xmlns="http://www.w3.org/2000/svg"', ""))
    for element in root.iter():
        assert element.tag not in {"style", "script", "metadata", "image", "foreignObject"}
        assert "style" not in element.attrib
        assert not any("//" in value for value in element.attrib.values())


def test_colours_are_classes_and_none_is_left_as_digits() -> None:
    svg = inline()
    assert 'class="stroke-blue"' in svg
    assert "fill-orange" in svg
    assert not re.search(r'(?:fill|stroke)="#[0-9a-f]{6}"', svg)


def test_every_reference_leads_to_an_id_of_its_own_figure() -> None:
    svg = inline(name="chart-3")
    ids = set(re.findall(r'id="([^"]+)"', svg))
    references = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
    assert references
    assert references <= ids
    assert all(name.startswith("chart-3-") for name in ids)


def test_letters_stay_letters_and_keep_their_size() -> None:
    svg = inline("b$x$<")
    found = re.search(r"<text([^>]*)>b\$x\$&lt;</text>", svg)
    assert found
    assert re.search(r'font-size="7(px)?"', found[1])
    assert "font-family" not in found[1]
    assert re.search(r'font-weight="(bold|700)"', found[1])


@pytest.mark.filterwarnings("error")
def test_a_character_that_the_font_lacks_is_drawn_without_a_warning() -> None:
    with look():
        assert "\u4e2d" in inline_svg(drawing("\u4e2d"), name="f", label="f")


def test_a_figure_is_described_for_a_screen_reader() -> None:
    assert 'role="img" aria-label="a &lt; b"' in inline()


def test_a_name_that_turns_the_direction_is_shown_in_the_description() -> None:
    with look():
        assert 'aria-label="a\\u202eb\\x1b"' in inline_svg(drawing(), name="f", label="a\u202eb\x1b")


def test_a_file_brings_its_colours_for_both_themes() -> None:
    with look():
        svg = svg_file(drawing(), name="f", label="f").decode()
    ElementTree.fromstring(svg)
    assert "prefers-color-scheme:dark" in svg
    assert ".stroke-blue{stroke:var(--blue)}" in svg


def test_the_theme_has_every_colour_twice() -> None:
    css = theme_css(":root")
    assert css.count("--blue:#") == css.count("--ink:#") == 2
