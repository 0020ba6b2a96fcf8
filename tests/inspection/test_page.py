"""The page of a report: its policy, hostile texts, its summary, and several runs."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from inspection.reports import CHARACTERS, report
from javascript import Node
from matplotlib.figure import Figure

from charlm.config.schema import merge
from charlm.inspection.html import number
from charlm.inspection.next_steps import NextSteps, Step
from charlm.inspection.reading import Origin
from charlm.inspection.report import Report, draw_figures, group_by_seed, render_page
from charlm.inspection.section import Sample
from charlm.network.model_file import TrainedModel


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of each script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.tags or not data.strip():
            return
        tag, _ = self.tags[-1]
        if tag == "script":
            self.scripts.append(data)
        if tag == "style":
            self.styles.append(data)


def text_report(*more: str, name: str = "runs/one") -> Report:
    """Return a report with the surprise of a text, which has no figure, and other sections."""
    return report(name=name, only=("surprise", *more))


def page_of(*reports: Report) -> str:
    """Return a page on some reports."""
    return render_page(reports, draw_figures(reports))


# Security


@pytest.fixture(scope="module")
def elements() -> Elements:
    """Return the elements of a page with a text and a figure."""
    return Elements(page_of(text_report("lyapunov")))


@pytest.fixture
def policy(elements: Elements) -> dict[str, str]:
    """Return the content security policy of the page."""
    (content,) = [
        attributes["content"]
        for _, attributes in elements.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    directives = [part.strip().partition(" ") for part in (content or "").split(";")]
    return {name: value for name, _, value in directives}


@pytest.mark.parametrize(
    ("directive", "value"),
    [
        ("default-src", "'none'"),
        ("img-src", "data:"),
        ("base-uri", "'none'"),
        ("form-action", "'none'"),
    ],
)
def test_the_policy_forbids_other_addresses(
    directive: str, value: str, policy: dict[str, str]
) -> None:
    assert policy[directive] == value


def hash_source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def test_the_policy_allows_only_the_style_of_the_page(
    elements: Elements, policy: dict[str, str]
) -> None:
    (style,) = elements.styles
    assert policy["style-src"] == hash_source(style)


def test_the_policy_allows_only_the_script_of_the_page(
    elements: Elements, policy: dict[str, str]
) -> None:
    data, script = elements.scripts
    assert json.loads(data)
    assert policy["script-src"] == hash_source(script)


def test_the_page_has_no_element_that_loads_another_page(elements: Elements) -> None:
    tags = {tag for tag, _ in elements.tags}
    assert "img" in tags
    assert not tags & {"iframe", "object", "embed", "form", "base"}


def test_no_element_has_a_style_or_a_script(elements: Elements) -> None:
    for _, attributes in elements.tags:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)


@pytest.mark.parametrize("attribute", ["src", "href", "xlink:href", "action"])
def test_the_page_has_no_address(attribute: str, elements: Elements) -> None:
    for _, attributes in elements.tags:
        address = attributes.get(attribute) or "#"
        assert address.startswith(("#", "data:,", "data:image/svg+xml;base64,"))


HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\x1b[31m\u202e\u2028'


@pytest.fixture(scope="module")
def hostile_page() -> str:
    """Return a page with two hostile texts."""
    hostile = replace(text_report(name=HOSTILE), text_name=HOSTILE, notes=(HOSTILE,))
    return page_of(hostile, hostile)


def test_a_hostile_text_becomes_no_element(hostile_page: str) -> None:
    assert "<" in CHARACTERS
    tags = [tag for tag, _ in Elements(hostile_page).tags if tag in {"script", "img"}]
    assert tags == ["script"] * 3  # the data of two texts, and the program


def test_a_hostile_text_is_shown(hostile_page: str) -> None:
    assert "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in hostile_page


def test_a_page_has_no_control_characters(hostile_page: str) -> None:
    assert not set(hostile_page) & {"\x1b", "\u202e", "\u2028"}


# The script


def test_pointing_at_a_character_shows_the_numbers_of_the_json(node: Node) -> None:
    shown = text_report()
    node.open(page_of(shown))
    item = shown.contents["surprise"].data[100]
    body = """
        const view = document.querySelector(".reader"), panel = view.querySelector(".panel");
        view.querySelector(".passage[tabindex]").children[100].dispatch("mouseover");
        const bars = panel.querySelectorAll(".bar").map((bar) => bar.children[2].textContent);
        return [panel.firstChild.textContent, bars];
    """
    sentence, bars = node.run(body)
    assert item["position"] == 102
    assert sentence.startswith("Character 102, ")
    assert f": {number(item['nats'])} nats, " in sentence
    assert bars == [number(guess["probability"]) for guess in item["likeliest"]]


# Sections


def test_the_page_has_the_summary_of_the_json() -> None:
    _, _, rest = render_page([report()], {}).partition('class="summary">')
    summary, _, _ = rest.partition("</ul>")
    items = re.findall(r'<li>(.*?) \(<a href="#(\w+)">', summary)
    assert items == [(item["text"], item["section"]) for item in report().data["summary"]]


def test_a_page_without_findings_has_no_summary() -> None:
    assert 'class="summary"' not in page_of(text_report())


def test_a_page_notes_each_missing_section() -> None:
    page = page_of(text_report("loss_by_class"))
    assert page.count("Not available for this run") == 8


def test_a_page_has_the_basis_of_each_section() -> None:
    page = page_of(text_report("loss_by_class"))
    assert page.count("Based on the predictions of 239 characters (2 to 240).") == 2


# Origins


@pytest.fixture
def with_corpus(trained: TrainedModel) -> TrainedModel:
    """Return a model with a known training text."""
    return replace(trained, facts={**trained.facts, "corpus": {"ids_sha256": "a"}})


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        pytest.param({"seed": 9}, True, id="seed"),
        pytest.param({"training": {"data_seed": 9}}, True, id="data seed"),
        pytest.param({"model": {"units": 9}}, False, id="units"),
    ],
)
def test_the_training_of_a_network_does_not_include_its_seeds(
    changes: dict[str, Any], is_same: bool, with_corpus: TrainedModel
) -> None:
    file = Path("runs/a/best.safetensors")
    changed = replace(with_corpus, config=merge(with_corpus.config, changes))
    first = Origin.of(with_corpus, file)
    second = Origin.of(changed, file)
    assert (first.training == second.training) == is_same
    assert first != second


def test_two_files_of_a_run_have_different_origins(with_corpus: TrainedModel) -> None:
    best = Origin.of(with_corpus, Path("runs/a/best.safetensors"))
    last = Origin.of(with_corpus, Path("runs/a/last.safetensors"))
    assert best != last


# Groups of runs


def with_origin(
    name: str, seed: int, *, training: str | None = "recipe and text", file: str = "best"
) -> Report:
    """Return a report on a network of some origin."""
    origin = Origin(training and f"{training} {file}", (seed, None))
    return replace(report(only=("usable_context", "network")), name=name, origin=origin)


A = with_origin("a", 1)
B = with_origin("b", 2)


@pytest.mark.parametrize(
    ("reports", "groups"),
    [
        pytest.param([A, B], ["ab"], id="two seeds"),
        pytest.param([A, with_origin("b", 1)], ["a", "b"], id="a run twice"),
        pytest.param([A, with_origin("b", 1, file="last")], ["a", "b"], id="two files of a run"),
        pytest.param(
            [A, with_origin("b", 2, file="last")], ["a", "b"], id="different files of two runs"
        ),
        pytest.param([A, with_origin("b", 2, training="other")], ["a", "b"], id="other settings"),
        pytest.param(
            [with_origin("a", 1, training=None), with_origin("b", 2, training=None)],
            ["a", "b"],
            id="unknown text",
        ),
        pytest.param([A, B, with_origin("c", 2)], ["a", "b", "c"], id="a seed twice"),
        pytest.param([A, replace(B, text_name="other text")], ["a", "b"], id="other text read"),
    ],
)
def test_runs_that_differ_only_in_their_seeds_are_a_group(
    reports: list[Report], groups: list[str]
) -> None:
    names = ["".join(run.name for run in group) for group in group_by_seed(reports)]
    assert names == groups


def labels(figures: dict[str, Figure]) -> list[str]:
    """Return the legend of the usable context."""
    legend = figures["usable_context"].legends[0]
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        pytest.param([A, B, with_origin("c", 3)], ["a and 2 more seeds"], id="only seeds"),
        pytest.param(
            [A, B, with_origin("c", 1, training="other")], ["a and 1 more seed", "c"], id="a group"
        ),
        pytest.param([A, with_origin("b", 1, file="last")], ["a", "b"], id="two files of a run"),
        pytest.param([A, A], ["a", "a (2)"], id="a run twice"),
    ],
)
def test_a_group_is_a_line_in_a_figure(reports: list[Report], expected: list[str]) -> None:
    assert labels(draw_figures(reports)) == expected


@pytest.fixture(scope="module")
def group_and_run() -> list[Report]:
    """Return two runs that differ only in their seeds, and another run."""
    return [A, B, with_origin("c", 1, training="other")]


@pytest.fixture(scope="module")
def group_figures(group_and_run: list[Report]) -> dict[str, Figure]:
    """Return the figures of a group and another run."""
    return draw_figures(group_and_run)


def test_each_run_has_its_diagram(group_figures: dict[str, Figure]) -> None:
    assert list(group_figures) == ["network-1", "network-2", "network-3", "usable_context"]


@pytest.fixture(scope="module")
def group_page(group_and_run: list[Report], group_figures: dict[str, Figure]) -> str:
    """Return the page on a group and another run."""
    return render_page(group_and_run, group_figures)


def test_each_figure_has_a_caption(group_page: str) -> None:
    counts = {group_page.count(text) for text in ('class="chart"', " alt=", "<figcaption>")}
    assert counts == {4}


def test_each_figure_is_described_by_its_runs(group_page: str) -> None:
    subjects = [alt.partition(":")[0] for alt in re.findall(r' alt="(.*?)"', group_page)]
    assert subjects == ["a", "b", "c", "a, b, c"]


def test_the_caption_explains_the_mean(group_page: str) -> None:
    assert "the mean of 2 runs that differ only in their seeds" in group_page


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        pytest.param([2, 3, 1, 2], "the mean of 2 or 3 runs that differ", id="groups"),
        pytest.param([1, 1], "Top: the loss when only the last k", id="no groups"),
    ],
)
def test_the_caption_has_the_sizes_of_all_groups(sizes: list[int], text: str) -> None:
    reports = [
        with_origin(f"{group}-{seed}", seed, training=f"recipe {group}")
        for group, size in enumerate(sizes)
        for seed in range(size)
    ]
    page = render_page(reports, {"usable_context": Figure()})
    assert text in page
    assert ("the mean of" in page) == (max(sizes) > 1)


def test_only_one_run_of_a_group_has_next_steps() -> None:
    steps = NextSteps(experiments=(Step("Try a seed.", {"seed": 2}), Step("Try units.", {})))
    runs = [A, with_origin("c", 1, training="other")]
    first, last = (replace(run, next_steps=steps) for run in runs)
    page = render_page([first, B, last], {})
    _, _, section = page.partition('<section id="next_steps">')
    assert re.findall(r"<h3>(.*?)</h3>|<p>(Try .*?)</p>", section) == [
        ("a", ""),
        ("", "Try units."),
        ("c", ""),
        ("", "Try a seed."),
        ("", "Try units."),
    ]


def test_the_same_report_twice_has_two_diagrams() -> None:
    once = report(only=("network",))
    assert list(draw_figures([once, once])) == ["network-1", "network-2"]


def test_a_page_on_several_runs_has_a_table_of_them() -> None:
    first = report(name="a", only=("network", "loss_by_class"))
    content = first.contents["loss_by_class"]
    loss = replace(
        content.data, nats_per_char=1.5, standard_error=0.25, positions=Sample(2, 1001, 1000)
    )
    contents = {**first.contents, "loss_by_class": replace(content, data=loss)}
    second = replace(text_report(name="b"), text_name="other text", activation="relu")
    page = render_page([replace(first, contents=contents), second], {})
    _, _, rest = page.partition("Runs on this page</caption>")
    table, _, _ = rest.partition("</tbody>")
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    assert rows == [
        ["a", "the validation text", "tanh", "239", "1.50 ± 0.25", "1,000"],
        ["b", "other text", "relu", "\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH}"],
    ]
    assert "NaN" not in page
