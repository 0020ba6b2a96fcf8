"""The page: self-contained, escaped, the same every time, with the numbers of the reports; whole or not at all."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from inspection.reports import CHARACTERS, found, numbers_in, report

from charlm.inspection.markup import number
from charlm.inspection.page import draw_figures, read_words, render_page, table_rows
from charlm.inspection.report import SECTIONS, Report, to_json

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\x1b[31m\u202e\u2028'


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of each script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in {"script", "style"} and data.strip():
            self.raw.append((self.found[-1][0], data))


def policy_of(elements: Elements) -> dict[str, str]:
    """Return the directives of the content policy of a page."""
    policy = next(at["content"] for tag, at in elements.found if at.get("http-equiv") == "Content-Security-Policy")
    assert policy
    return dict(part.strip().split(" ", 1) for part in policy.split(";"))


def text_report(*more: str, name: str = "runs/one") -> Report:
    """Return a report with the surprise of a text, which has no figure, and other sections."""
    return report(name=name, only=("surprise", *more))


def page_of(*reports: Report) -> str:
    """Return a page on some reports."""
    return render_page(reports, draw_figures(reports))


def test_the_policy_forbids_every_connection_and_names_the_one_style_and_script() -> None:
    elements = Elements(page_of(text_report()))
    policy = policy_of(elements)
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    style, data, script = (text for _, text in elements.raw)
    for directive, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert json.loads(data)


def test_nothing_on_the_page_leads_elsewhere_or_needs_what_the_policy_forbids() -> None:
    elements = Elements(page_of(text_report("lyapunov")))
    assert "img" in {tag for tag, _ in elements.found}
    for tag, attributes in elements.found:
        assert tag not in {"iframe", "object", "embed", "form", "base"}
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,", "data:image/svg+xml;base64,"))


def test_hostile_texts_are_shown_and_do_nothing() -> None:
    hostile = replace(text_report(name=HOSTILE), text_name=HOSTILE, notes=(HOSTILE,))
    page = page_of(hostile, hostile)
    elements = Elements(page)
    assert [tag for tag, _ in elements.found if tag in {"script", "img"}] == ["script"] * 3  # two of them are data
    assert not set(page) & {"\x1b", "\u202e", "\u2028"}
    assert "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<" in CHARACTERS  # no data of the script can end it


def test_the_runs_of_a_page_are_a_table() -> None:
    page = page_of(text_report("network"), text_report(name="runs/two"))
    table = page[page.index("Runs on this page") : page.index("</table>", page.index("Runs on this page"))]
    assert re.findall(r"runs/\w+", table) == ["runs/one", "runs/two"]
    assert number(report().get("network").parameters) in table


def sentence_of(page: str) -> list[tuple[str, str]]:
    """Return the links of the first sentence of a page, each the name of a section and its text."""
    sentence = page.partition('<p class="summary">')[2].partition("</p>")[0]
    return re.findall(r'<a href="#(\w+)">(.*?)</a>', sentence)


def test_the_first_sentence_links_each_number_to_the_section_that_computed_it() -> None:
    found, page = report(), page_of(report())
    names = [name for name, _ in sentence_of(page)]
    assert names == ["loss_by_class", "gradient_by_lag"]  # too short a text to tell what context is used
    assert all(f'<section id="{name}">' in page for name in names)
    assert number(found.get("loss_by_class").nats_per_char) in sentence_of(page)[0][1]
    assert [each["text"] for each in to_json(found)["summary"]] == [text for _, text in sentence_of(page)]


def test_a_part_that_was_not_made_is_left_out_of_the_sentence() -> None:
    page = page_of(text_report("loss_by_class"))
    assert [name for name, _ in sentence_of(page)] == ["loss_by_class"]
    assert 'class="summary"' not in page_of(text_report())
    assert page.count("Not available for this run") == len(SECTIONS) - 2


def test_under_each_part_is_how_many_characters_it_rests_on() -> None:
    page = page_of(text_report("loss_by_class", "impulse_response"))
    assert page.count("Rests on 239 characters, 1 to 239.") == 2
    count, (first, *_, last) = len(positions := found("impulse_response").positions), positions
    assert f"Rests on {count} characters, evenly spaced, {first} to {last}." in page or count == last - first + 1


def test_every_number_in_a_table_is_one_of_the_json() -> None:
    whole = report()
    known = {number(value) for value in numbers_in(to_json(whole))}
    shown = {
        number(cell)
        for name, words in read_words().items()
        if "columns" in words
        for row in table_rows(whole.found[name], words["columns"])
        for value in row
        for cell in (value if isinstance(value, tuple) else (value,))
        if isinstance(cell, int | float) and np.isfinite(cell)
    }
    assert len(shown) > 50
    assert shown <= known


@pytest.mark.slow
def test_every_figure_is_drawn_for_each_run_and_on_the_page() -> None:
    reports = [report(), report(name="runs/two", layers=3)]
    charts = [name for name in SECTIONS if name != "surprise"]
    assert list(draw_figures(reports)) == [f"{name}-{run}" for name in charts for run in (1, 2)]
    page = page_of(*reports)
    assert page.count('class="chart"') == 2 * len(charts)
    assert page.count(" alt=") == page.count("<figcaption>") == 2 * len(charts)
    assert not re.search(r' style="', page)
    assert "NaN" not in page


def test_every_section_has_its_words_and_every_figure_its_caption() -> None:
    words = read_words()
    assert [*words] == [*SECTIONS]
    for name, section in report().found.items():
        assert all(words[name][each] for each in ("title", "equation", "text"))
        assert bool(section.figure) == ("caption" in words[name])
        assert bool(section.items) == ("columns" in words[name]) == ("table" in words[name])
