"""The page of a report: its policy, hostile texts, its summary, and several runs."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspection.reports import CHARACTERS, report, report_with_gaps
from javascript import Tree, elements_of

from charlm.config.schema import merge
from charlm.inspection.report import SECTIONS, Group, Report, group_reports, render_page, results_of
from charlm.inspection.style import Cell, draw, table
from charlm.measures.estimates import Estimate

Elements = list[tuple[str, dict[str, str], list[Any]]]


def parse(page: str) -> Elements:
    """Return the name, the attributes and the children of each element of a page."""
    return [*elements_of(Tree(page).nodes)]


def text_report(*more: str, name: str = "runs/one") -> Report:
    """Return a report with the surprise of a text, which has no figure, and other sections."""
    return report(name=name, only=("surprise", *more))


# Security


@pytest.fixture(scope="module")
def elements() -> Elements:
    """Return the elements of a page with a text and a figure."""
    return parse(render_page([text_report("memory")]))


@pytest.fixture
def policy(elements: Elements) -> dict[str, str]:
    """Return the content security policy of the page."""
    (content,) = [
        attributes["content"]
        for _, attributes, _ in elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    directives = [part.strip().partition(" ") for part in content.split(";")]
    return {name: value for name, _, value in directives}


def test_the_policy_forbids_other_addresses(policy: dict[str, str]) -> None:
    assert (
        policy.items()
        >= {
            "default-src": "'none'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
        }.items()
    )


def hash_source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def test_the_policy_allows_only_the_style_and_script_of_the_page(
    elements: Elements, policy: dict[str, str]
) -> None:
    (style,) = ["".join(children) for name, _, children in elements if name == "style"]
    data, script = ["".join(children) for name, _, children in elements if name == "script"]
    assert json.loads(data)
    assert policy["style-src"] == hash_source(style)
    assert policy["script-src"] == hash_source(script)


def test_the_pictures_are_in_the_page(elements: Elements) -> None:
    addresses = [attributes["src"] for _, attributes, _ in elements if "src" in attributes]
    assert addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)


HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\x1b[31m\u202e\u2028'


@pytest.fixture(scope="module")
def hostile_page() -> str:
    """Return a page with hostile texts."""
    hostile = text_report("network", name=HOSTILE)
    reading = replace(hostile.reading, text=replace(hostile.reading.text, name=HOSTILE))
    return render_page([replace(hostile, reading=reading, notes=(HOSTILE,))])


def test_a_hostile_text_becomes_no_element(hostile_page: str) -> None:
    assert "<" in CHARACTERS
    tags = [name for name, _, _ in parse(hostile_page) if name in {"script", "img"}]
    assert tags == ["script"] * 2  # the data of the text, and the program


def test_a_hostile_text_is_shown(hostile_page: str) -> None:
    assert "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in hostile_page


def test_a_page_has_no_control_characters(hostile_page: str) -> None:
    assert not set(hostile_page) & {"\x1b", "\u202e", "\u2028"}


# Numbers


@pytest.mark.parametrize(
    ("mean", "error", "shown"),
    [
        pytest.param(1.23456, 0.0234, "1.235 ± 0.023", id="two digits of the error"),
        pytest.param(-0.5, 0.25, "\u22120.50 ± 0.25", id="negative"),
        pytest.param(12.3456, None, "12.35", id="unknown error"),
        pytest.param(1.23456, 0.0, "1.235", id="no error"),
        pytest.param(1.23456, math.inf, "1.235", id="infinite error"),
        pytest.param(0.0, None, "0.000", id="zero"),
        pytest.param(9, None, "9", id="count"),
        pytest.param(None, None, "\N{EN DASH}", id="missing"),
        pytest.param(-math.inf, None, "\u2212∞", id="minus infinity"),
        pytest.param(math.inf, None, "∞", id="infinity"),
    ],
)
def test_a_number_has_no_more_digits_than_its_error_allows(
    mean: float | None, error: float | None, shown: str
) -> None:
    page = table(["loss"], [[Estimate(mean, error)]], caption="")
    assert rows_of(page)[1] == [shown]


def test_the_numbers_of_a_column_have_the_same_decimals() -> None:
    rows: list[list[Cell]] = [
        [Estimate(1.5, 0.0123)],
        [Estimate(1.25, 0.001)],
        [Estimate(2, None)],
        [None],
    ]
    column = [cell for (cell,) in rows_of(table(["loss"], rows, caption=""))[1:]]
    assert column == ["1.500 ± 0.012", "1.250 ± 0.001", "2", "\N{EN DASH}"]


def test_a_table_may_be_empty() -> None:
    assert rows_of(table(["feature", "strength"], [], caption="")) == [["feature", "strength"]]


# Sections


def test_a_page_has_a_note_on_each_part_that_is_missing() -> None:
    page = render_page([text_report(), report_with_gaps()])
    assert "missing, because of an error: no replaced character changes the state." in page
    assert "Only the first 120 of 150 characters of the text were read." in page
    assert "&#x27;X&#x27; (U+0058) 2 times" in page


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of the first table of a page."""
    table, _, _ = page.partition("</table>")
    return [re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row) for row in table.split("<tr>")[1:]]


# Groups of runs


def run(name: str, **settings: Any) -> Report:
    """Return a report on a run with some settings, whose context is its seed plus 1."""
    whole = report(only=("usable_context", "surprise"))
    trained = whole.reading.trained
    config = merge(trained.config, settings)
    reading = replace(whole.reading, name=name, trained=replace(trained, config=config))
    context = replace(whole.get("usable_context"), used=1 + int(settings.get("seed", 0)))
    return replace(whole, reading=reading, results={**whole.results, "usable_context": context})


LONG = {"training": {"sequence_length": 64}}
SHORT = {"training": {"sequence_length": 4}}
CLASS = [
    *(run(f"short-{seed}", seed=seed, **SHORT) for seed in (1, 2, 3)),
    run("long-1", seed=1, **LONG),
]


@pytest.fixture(scope="module")
def class_page() -> str:
    """Return the page of the four runs."""
    return render_page(CLASS)


def names_of(groups: list[Group]) -> list[list[str]]:
    return [[report.reading.name for report in group.runs.values()] for group in groups]


def test_another_text_or_file_is_another_group() -> None:
    first = run("a")
    text = replace(
        first, reading=replace(first.reading, text=replace(first.reading.text, name="another text"))
    )
    trained = replace(first.reading.trained, facts={"corpus": {"ids_sha256": "another"}})
    training_text = replace(first, reading=replace(first.reading, trained=trained))
    file = replace(first, reading=replace(first.reading, path=Path("runs/a/last.safetensors")))
    assert len(group_reports([first, text, training_text, file])) == 4


def test_legends_name_the_settings_and_tables_the_runs() -> None:
    labels = [line.label for group in group_reports(CLASS[:3]) for line in group.runs]
    assert labels == ["short-1", "short-2", "short-3"]
    lines = [line for group in group_reports(CLASS) for line in group.runs]
    assert [line.group for line in lines] == [*["sequence_length 4"] * 3, "sequence_length 64"]


def test_groups_without_a_short_label_are_named_by_their_first_run() -> None:
    paths = [run(name, training={"optimizer": {"name": name * 30}}) for name in ("ab", "cd")]
    lines = [line for group in group_reports(paths) for line in group.runs]
    assert [line.group for line in lines] == ["ab", "cd"]


def test_a_group_has_one_colour() -> None:
    colours = [{line.colour for line in group.runs} for group in group_reports(CLASS)]
    assert [len(each) for each in colours] == [1, 1]
    assert colours[0] != colours[1]


def test_the_table_has_a_row_for_each_group(class_page: str) -> None:
    head, *rows = rows_of(class_page)
    assert head[:4] == ["sequence_length", "seeds", "nats per character", "context used"]
    assert [[*row[:2], row[3], row[-1]] for row in rows] == [
        ["4", "3", "3.00 ± 0.58", "short-1, short-2, short-3"],
        ["64", "1", "2", "long-1"],
    ]


def test_groups_are_in_the_order_of_their_settings() -> None:
    lengths = [64, 4, 16]
    runs = [run(f"{each}", training={"sequence_length": each}) for each in lengths]
    assert names_of(group_reports(runs)) == [["4"], ["16"], ["64"]]


def test_an_unknown_number_of_a_run_is_unknown_for_its_group() -> None:
    unknown = replace(CLASS[1].get("usable_context"), used=None)
    changed = replace(CLASS[1], results={"usable_context": unknown})
    assert rows_of(render_page([CLASS[0], changed]))[1][2] == "\N{EN DASH}"


def test_the_errors_of_groups_are_over_the_seeds(class_page: str) -> None:
    assert "is one standard error over the seeds" in class_page
    assert "is one standard error over the text" not in class_page


def test_the_errors_of_single_runs_are_over_the_text() -> None:
    page = render_page([LOSSES[0], LOSSES[3]])
    assert "is one standard error over the text" in page
    assert "over the seeds" not in page
    assert rows_of(page)[1][1] == "2.00 ± 0.50"


def loss(seed: int, nats: float, **settings: Any) -> Report:
    """Return a report on a run with a loss, whose error over the text is 0.5."""
    measured = run(f"{seed}", seed=seed, **settings)
    losses = replace(report().get("loss_by_class"), nats_per_char=Estimate(nats, 0.5))
    return replace(measured, results={**measured.results, "loss_by_class": losses})


LOSSES = [
    *(loss(seed, nats, **LONG) for seed, nats in ((1, 1.0), (2, 1.25), (3, 1.5))),
    *(loss(seed, nats, **SHORT) for seed, nats in ((1, 2.0), (2, 2.5))),
]


def on_another_text(report: Report) -> Report:
    """Return a report on a run that read another text of the same name."""
    text = report.reading.text
    other = replace(text, ids=(text.ids + 1) % len(CHARACTERS))
    return replace(report, reading=replace(report.reading, text=other))


def test_runs_on_different_texts_of_one_name_are_different_groups() -> None:
    groups = group_reports([*LOSSES, *map(on_another_text, LOSSES)])
    assert names_of(groups[:2]) == names_of(groups[2:])
    assert [group.above_previous is None for group in groups] == [True, False, True, False]


def test_a_page_says_whether_groups_differ() -> None:
    # Welch: 1 / sqrt(0.125 / 2 + 0.0625 / 3) = 3.46; at 1.68 degrees of freedom, 5.1 are chance
    assert (
        "sequence_length 64: 1.0000 ± 0.2887 nats lower than the row above: may be chance "
        "(Student&#x27;s t = 3.5, 1.7 degrees of freedom, 95%)."
    ) in render_page(LOSSES)


def test_a_table_of_losses_has_the_error_over_seeds() -> None:
    page = render_page(LOSSES)
    assert "2.25 ± 0.25" in page
    assert "2.25 ± 0.50" not in page


@pytest.mark.parametrize("name", ["usable_context", "units", "memory", "spectrum"])
def test_a_legend_has_one_entry_for_each_group(name: str) -> None:
    reports = [replace(each, results=report().results) for each in CLASS]
    plot = SECTIONS[name].plot
    assert plot is not None
    (legend,) = draw(plot, results_of(group_reports(reports), name)).legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert [label for label in labels if "length" in label] == [
        "sequence_length 4",
        "sequence_length 64",
    ]
