"""The canvas of all figures, and limits that several runs share."""

import re
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

import charlm.inspection
from charlm.inspection.figures.look import COLOURS, canvas, look, share_limits


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour by WCAG 2.2, 0 to 1."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours by WCAG 2.2, 1 to 21."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", [name for name in COLOURS if name not in {"paper", "grid"}])
def test_every_colour_of_letters_and_lines_stands_out_from_the_paper(name: str, theme: int) -> None:
    assert contrast(COLOURS[name][theme], COLOURS["paper"][theme]) >= 4.5


def test_the_users_own_settings_do_not_count_and_come_back() -> None:
    with matplotlib.rc_context({"font.size": 40, "axes.grid": False}):
        with look():
            figure, ((axes,),) = canvas()
            assert axes.title.get_fontsize() == 9
        assert matplotlib.rcParams["font.size"] == 40
    assert isinstance(figure, Figure)


def test_no_module_imports_pyplot() -> None:
    sources = [source.read_text(encoding="utf-8") for source in Path(charlm.inspection.__file__).parent.rglob("*.py")]
    assert any("import matplotlib" in source or "from matplotlib" in source for source in sources)
    assert not any(re.search(r"import.*pyplot|pyplot import", source) for source in sources)


def test_figures_of_several_runs_share_their_limits() -> None:
    first, ((one,),) = canvas()
    second, ((two,),) = canvas()
    one.plot([0, 1], [0, 10])
    two.plot([0, 5], [-3, 1])
    share_limits([first, second])
    assert one.get_xlim() == two.get_xlim()
    assert one.get_ylim() == two.get_ylim()
    assert one.get_ylim()[0] < -3 < 10 < one.get_ylim()[1]


def test_an_axis_that_runs_downwards_keeps_its_direction() -> None:
    first, ((one,),) = canvas()
    second, ((two,),) = canvas()
    for axes, bottom in ((one, 3), (two, 5)):
        axes.plot([0, 1], [0, 1])
        axes.set_ylim(bottom, 0)
    share_limits([first, second])
    assert one.get_ylim() == two.get_ylim() == (5, 0)


def test_figures_with_other_axes_or_scales_keep_their_limits() -> None:
    first, ((one,),) = canvas()
    second, ((two,),) = canvas()
    one.plot([1, 2], [1, 2])
    two.plot([1, 2], [1, 1000])
    two.set_yscale("log")
    before = one.get_ylim()
    share_limits([first, second])
    share_limits([first, canvas(2)[0]])
    assert one.get_ylim() == before
