"""Reports: which quantities they have, what their notes say, what is refused, their JSON, and their page."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import ABBA
from inspection.networks import random_ids
from inspection.reports import CHARACTERS, SMALL, numbers_in, report
from limits import memory_limit
from models import make_random_model, random_parameters
from threadpoolctl import threadpool_info, threadpool_limits

import charlm
from charlm.config.schema import merge
from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score, score_stream
from charlm.inspection.figures import clipping_note
from charlm.inspection.html import number, to_plain
from charlm.inspection.inspecting import inspect_runs, inspect_text, to_json
from charlm.inspection.reading import Limits, Origin, Reading, limits_for
from charlm.inspection.report import Report, draw_figures, group_by_seed, render_page
from charlm.inspection.section import Chart, Sample
from charlm.inspection.sections import SECTIONS
from charlm.network.model_file import TrainedModel
from charlm.text.markup import visible


def reading(trained: TrainedModel, *, length: int = 400, **changes: Any) -> Reading:
    """Return a random text that the random network reads."""
    return replace(Reading("trained", trained, "a text", random_ids(length), SMALL), **changes)


def test_a_report_has_every_part_that_can_be_made_and_notes_what_is_left_out(
    trained: TrainedModel,
) -> None:
    named: list[str] = []
    found = inspect_text(
        reading(trained, training_text=random_ids(500, seed=9)), progress=named.append
    )
    assert named == [name.replace("_", " ") for name in SECTIONS]
    assert [*found.contents] == [*SECTIONS]
    loss, context = found.get("loss_by_class"), found.get("usable_context")
    assert (len(found.get("surprise")), loss.positions.count, context.positions.count) == (
        299,
        299,
        199,
    )
    assert context.ngram_order.tolist() == [*range(2, 10)]
    assert found.notes == ("Only the first 300 of 400 characters of the text were read.",)
    left_out, _, ngrams = reading(
        trained, training_text=np.zeros(1_000_001, np.uint8), left_out={"X": 2}
    ).notes()
    assert left_out.endswith("'X' (U+0058) 2 times.")
    assert (
        ngrams == "The n-grams were counted on the last 1,000,000 characters of the training text."
    )


def test_a_text_has_one_loss_whatever_part_gives_it(trained: TrainedModel) -> None:
    ids = np.tile([0, 0, 1, 0, 2], 80)
    found = inspect_text(reading(trained, text=ids, training_text=ids, limits=Limits(400, 400, 20)))
    loss, context = found.get("loss_by_class"), found.get("usable_context")
    assert context.whole_nats == pytest.approx(loss.nats_per_char)
    assert context.ngram_order[3] == 5
    assert loss.comparison.ngram_nats_per_char == pytest.approx(context.ngram_nats[3])
    assert loss.nats_per_char == pytest.approx(
        mean_score(score_stream(trained.parameters, ids)).nats_per_char
    )
    assert found.data["usable_context"]["positions"] == {"first": 2, "last": 400, "count": 399}


def test_a_text_that_is_short_or_strange_still_has_a_report_of_finite_numbers(
    trained: TrainedModel,
) -> None:
    strange = np.array([4, 3, 4, 3, 0])  # the end of a text and the unknown character
    for ids in (np.array([0, 1]), np.zeros(50, np.int64), strange, np.tile([3, 4, 3, 1], 75)):
        found = inspect_text(reading(trained, text=ids, training_text=ids))
        assert len(found.get("surprise")) == min(len(ids), 300) - 1
        assert np.isfinite(found.get("gradient_by_lag")[0].median[0])
        for section in ("units", "fixed_points", "loss_by_class", "surprise"):
            assert all(np.isfinite(value) for value in numbers_in(found.get(section)))


def test_products_run_on_one_thread_while_a_report_is_made(trained: TrainedModel) -> None:
    def blas_threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen = set[int]()
    with threadpool_limits(2, "blas"):
        inspect_text(reading(trained), progress=lambda _: seen.update(blas_threads()))
        assert blas_threads() == {2}
    assert seen == {1}


def test_a_text_without_a_prediction_and_weights_that_are_too_large_are_refused(
    trained: TrainedModel,
) -> None:
    for length in (0, 1):
        with pytest.raises(
            CharlmError, match=f"a text: found {length} characters?; expected at least 2"
        ):
            inspect_text(reading(trained, length=length))
    trained.parameters.logits_bias[...] = [3e38, -3e38, 3e38, 0, 0]
    with pytest.raises(CharlmError, match="the weights are too large"):
        inspect_text(reading(trained))


def test_the_more_parameters_the_fewer_characters_are_read(trained: TrainedModel) -> None:
    assert limits_for(trained.parameters) == Limits(100_000, 15_000, 400)
    assert limits_for(random_parameters(units=1000)) == Limits(
        69_238, 10_385, 276
    )  # 1,011,005 parameters
    assert limits_for(random_parameters(units=1000, layers=4)).context == 2_500
    many = random_parameters(vocabulary_size=40_000)
    read = reading(replace(trained, parameters=many), length=3000, limits=Limits(3000, 3000, 20))
    assert len(read.trace.ids) == 500  # 20 million logits
    assert limits_for(many) == Limits(100_000, 1000, 250, 125)


@pytest.mark.slow
def test_the_memory_of_a_report_does_not_grow_with_the_vocabulary_times_the_text() -> None:
    characters = [chr(0xF0000 + index) for index in range(60_000)] + [
        chr(0x100000 + index) for index in range(60_000)
    ]
    model = make_random_model(characters, units=2)
    text = np.random.default_rng(0).integers(0, 300, 400)
    read = reading(model, text=text, limits=limits_for(model.parameters))
    with memory_limit(500_000_000):  # one array of 400 x 120,000 float64 is 384 MB
        inspect_text(read)


def test_a_value_becomes_plain() -> None:
    for value, expected in (
        (np.array([1.0, np.nan, np.inf, -np.inf]), [1.0, None, None, None]),
        (np.float32(0.1), 0.1),
        (np.array([1 + 2j, complex(np.nan, 0)]), [[1.0, 2.0], [None, 0.0]]),
        (np.int64(3), 3),
        (True, True),
        ((1, "a", None, {2: np.zeros((1, 2))}), [1, "a", None, {"2": [[0.0, 0.0]]}]),
        (123456789.123, 123456800.0),
    ):
        found = to_plain(value)
        assert json.dumps(found, allow_nan=False) == json.dumps(expected)


def test_each_layer_has_its_gradient_by_lag_and_its_radius_and_a_part_that_could_not_be_made_is_null() -> (
    None
):
    found, empty = report(layers=3).data, report(only=()).data
    assert [curve["layer"] for curve in found["gradient_by_lag"]] == [0, 1, 2]
    assert found["gradient_by_lag"][0]["median"][0] == 1
    assert found["spectral_radius"] == [
        pytest.approx(layer["spectral_radius"]) for layer in found["spectrum"]
    ]
    assert (empty["surprise"], empty["gradient_by_lag"], empty["spectral_radius"]) == (
        None,
        None,
        [],
    )


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


def text_report(*more: str, name: str = "runs/one") -> Report:
    """Return a report with the surprise of a text, which has no figure, and other sections."""
    return report(name=name, only=("surprise", *more))


def page_of(*reports: Report) -> str:
    """Return a page on some reports."""
    return render_page(reports, draw_figures(reports))


def test_the_page_leads_nowhere_and_its_policy_allows_the_one_style_and_script_alone() -> None:
    elements = Elements(page_of(text_report("lyapunov")))
    content = next(
        at["content"]
        for _, at in elements.found
        if at.get("http-equiv") == "Content-Security-Policy"
    )
    policy = dict(part.strip().split(" ", 1) for part in (content or "").split(";"))
    assert (policy["default-src"], policy["img-src"]) == ("'none'", "data:")
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    style, data, script = (text for _, text in elements.raw)
    for directive, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert json.loads(data)
    assert "img" in {tag for tag, _ in elements.found}
    for tag, attributes in elements.found:
        assert tag not in {"iframe", "object", "embed", "form", "base"}
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(
                ("#", "data:,", "data:image/svg+xml;base64,")
            )


def test_hostile_texts_are_shown_and_do_nothing() -> None:
    hostile = replace(text_report(name=HOSTILE), text_name=HOSTILE, notes=(HOSTILE,))
    page = page_of(hostile, hostile)
    elements = Elements(page)
    assert [tag for tag, _ in elements.found if tag in {"script", "img"}] == [
        "script"
    ] * 3  # two of them are data
    assert not set(page) & {"\x1b", "\u202e", "\u2028"}
    assert "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<" in CHARACTERS  # no data of the script can end it


def test_the_summary_is_that_of_the_json_and_what_a_page_lacks_is_said() -> None:
    summary = page_of(report()).partition('class="summary">')[2].partition("</ul>")[0]
    items = re.findall(r'<li>(.*?) \(<a href="#(\w+)">', summary)
    assert items == [(each["text"], each["section"]) for each in report().data["summary"]]
    part = page_of(text_report("loss_by_class"))
    assert part.count("Not available for this run") == len(SECTIONS) - 2
    assert part.count("Based on the predictions of 239 characters (2 to 240).") == 2
    assert 'class="summary"' not in page_of(text_report())


def test_every_number_in_a_table_is_one_of_the_json() -> None:
    whole = report()
    known = {number(value) for value in numbers_in(whole.data)}
    shown = {
        number(cell)
        for content in whole.contents.values()
        if content.table is not None
        for row in content.table.rows
        for value in row
        for cell in (value if isinstance(value, tuple) else (value,))
        if isinstance(cell, int | float) and np.isfinite(cell)
    }
    assert len(shown) > 50
    assert shown <= known


BASES = {
    "surprise": "the predictions of 239 characters (2 to 240)",
    "loss_by_class": "the predictions of 239 characters (2 to 240)",
    "usable_context": "the predictions of 199 characters (2 to 200)",
    "gradient_by_lag": "the losses of 20 evenly spaced characters (121 to 240)",
    "impulse_response": "replacements of 121 characters (1 to 121)",
    "lyapunov": "the steps that read 180 characters (61 to 240)",
    "units": "the outputs of 10 units after 240 characters (1 to 240)",
}
"""What each section is based on, for 240 characters and the limits 300, 200 and 20. The gradient is followed back 119
characters, half of the text; as many characters follow a replacement; a quarter of the text warms up the exponents."""


@pytest.mark.parametrize("section", BASES)
def test_a_section_says_which_characters_it_is_based_on(section: str) -> None:
    assert f"ased on {BASES[section]}" in report().contents[section].basis


def test_fixed_points_name_their_starts() -> None:
    basis = report().contents["fixed_points"].basis
    assert "the states after 240 characters (1 to 240)." in basis
    assert "the most common of 240 characters (1 to 240)." in basis
    assert (
        "up to 12,800 times, starting from the state after each of these characters: 120, 180, 240."
        in basis
    )


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        pytest.param(Sample.of(range(4, 9)), "5 characters (5 to 9)", id="every character"),
        pytest.param(
            Sample.of(np.array([0, 1000, 2000])),
            "3 evenly spaced characters (1 to 2,001)",
            id="spaced",
        ),
        pytest.param(Sample.of(range(1)), "1 character (1)", id="one"),
    ],
)
def test_a_sample_is_counted_from_1(sample: Sample, text: str) -> None:
    assert str(sample) == text


def test_the_caption_of_the_fixed_points_says_how_much_variance_is_not_shown() -> None:
    content = report().contents["fixed_points"]
    shown = sum(content.data.shares)
    assert content.figure is not None
    assert (
        f"holds {shown:.0%} of the variance of these states; {1 - shown:.0%} is not shown."
        in content.figure.caption
    )


def test_the_legend_of_the_fixed_points_has_the_characters_themselves() -> None:
    figure = report().figures["fixed_points"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    most_common = [CHARACTERS[held.id] for held in report().get("fixed_points").held if held.points]
    assert labels == [
        "state on the text",
        *(f"repeated: {visible(character)}" for character in most_common),
    ]
    assert len(labels) > 1


@pytest.mark.parametrize("section", ["usable_context", "gradient_by_lag", "impulse_response"])
def test_an_axis_that_is_cut_off_is_said_to_be(section: str) -> None:
    chart = report().contents[section].figure
    assert isinstance(chart, Chart)
    assert ("are not drawn" in chart.details) == bool(clipping_note(chart.panels))


def with_origin(
    name: str, seed: int, *, training: str | None = "recipe and text", file: str = "best"
) -> Report:
    """Return a report on a network of some origin."""
    origin = Origin(training and f"{training} {file}", (seed, None))
    return replace(report(only=("usable_context", "network")), name=name, origin=origin)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        pytest.param([with_origin("a", 1), with_origin("b", 2)], ["ab"], id="two seeds"),
        pytest.param([with_origin("a", 1), with_origin("b", 1)], ["a", "b"], id="a run twice"),
        pytest.param(
            [with_origin("a", 1), with_origin("b", 1, file="last")],
            ["a", "b"],
            id="two files of a run",
        ),
        pytest.param(
            [with_origin("a", 1), with_origin("b", 2, file="last")],
            ["a", "b"],
            id="other files of two runs",
        ),
        pytest.param(
            [with_origin("a", 1), with_origin("b", 2, training="other")],
            ["a", "b"],
            id="other settings",
        ),
        pytest.param(
            [with_origin(n, s, training=None) for n, s in (("a", 1), ("b", 2))],
            ["a", "b"],
            id="unknown text",
        ),
        pytest.param(
            [with_origin(n, s) for n, s in (("a", 1), ("b", 2), ("c", 2))],
            ["a", "b", "c"],
            id="one twice",
        ),
        pytest.param(
            [with_origin("a", 1), replace(with_origin("b", 2), text_name="other text")],
            ["a", "b"],
            id="other text read",
        ),
    ],
)
def test_only_different_runs_that_differ_in_their_seeds_alone_are_averaged(
    reports: list[Report], expected: list[str]
) -> None:
    assert ["".join(one.name for one in group) for group in group_by_seed(reports)] == expected


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        pytest.param({"seed": 9}, True, id="seed"),
        pytest.param({"training": {"data_seed": 9}}, True, id="data seed"),
        pytest.param({"model": {"units": 9}}, False, id="units"),
    ],
)
def test_the_origin_of_a_network_is_its_settings_but_the_seeds(
    changes: dict[str, Any], is_same: bool, trained: TrainedModel
) -> None:
    known = replace(trained, facts={**trained.facts, "corpus": {"ids_sha256": "a"}})
    other = replace(known, config=merge(known.config, changes))
    one, two = (Origin.of(model, Path("runs/a/best.safetensors")) for model in (known, other))
    assert (one.training == two.training) == is_same
    assert one != two


def test_the_origin_of_two_files_of_a_run_differs(trained: TrainedModel) -> None:
    known = replace(trained, facts={**trained.facts, "corpus": {"ids_sha256": "a"}})
    best, last = (Origin.of(known, Path(f"runs/a/{name}.safetensors")) for name in ("best", "last"))
    assert best != last


def test_a_page_on_several_runs_has_a_table_of_them() -> None:
    reports = [with_origin(name, seed) for seed, name in enumerate("abc")]
    page = page_of(*reports)
    table = page[page.index("Runs on this page") : page.index("</table>")]
    assert re.findall(r"<td>([abc])</td>", table) == ["a", "b", "c"]
    assert number(reports[0].get("network").parameters) in table
    assert "NaN" not in page


def test_runs_that_differ_in_their_seeds_alone_are_one_line_with_a_caption_that_says_so() -> None:
    reports = [with_origin("a", 1), with_origin("b", 2), with_origin("c", 1, training="other")]
    figures = draw_figures(reports)
    assert [*figures] == [*(f"network-{run}" for run in (1, 2, 3)), "usable_context"]
    assert [text.get_text() for text in figures["usable_context"].legends[0].get_texts()] == [
        "a and 1 more seed",
        "c",
    ]
    page = render_page(reports, figures)
    assert page.count('class="chart"') == page.count(" alt=") == page.count("<figcaption>") == 4
    assert "the mean of 2 runs that differ only in their seeds" in page


def test_two_files_of_one_run_are_two_lines_and_no_mean() -> None:
    reports = [with_origin("a", 1), with_origin("b", 1, file="last")]
    figures = draw_figures(reports)
    assert [text.get_text() for text in figures["usable_context"].legends[0].get_texts()] == [
        "a",
        "b",
    ]
    assert len(group_by_seed(reports)) == 2


def test_a_network_that_is_shown_twice_has_two_lines() -> None:
    reports = [with_origin("a", 1), with_origin("a", 1)]
    legend = draw_figures(reports)["usable_context"].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "a (2)"]


def test_the_same_report_twice_has_a_figure_for_each() -> None:
    one = with_origin("a", 1)
    assert {"network-1", "network-2"} <= draw_figures([one, one]).keys()


def test_a_page_that_would_replace_the_model_is_refused(model_file: Path, text: Path) -> None:
    before = model_file.read_bytes()
    with pytest.raises(CharlmError, match=r"is a file that is read; name another file$"):
        inspect_runs([model_file], text=text, out=model_file)
    assert model_file.read_bytes() == before


def test_a_text_of_unknown_characters_is_refused(trained: TrainedModel) -> None:
    unknown = reading(trained, length=0, left_out={"X": 2})
    with pytest.raises(
        CharlmError, match="a text: found 0 characters that the model knows; expected at least 2"
    ):
        inspect_text(unknown)


def test_a_damaged_suggestion_is_a_note(trained_run: Path) -> None:
    shutil.copytree(trained_run, "runs/plays", ignore=shutil.ignore_patterns("checkpoints"))
    Path("runs/plays/ended.json").write_text("{}", encoding="utf-8")
    made = charlm.inspect("plays", only=["spectrum"])
    assert any("ended.json: damaged" in note for note in made.notes)


def test_one_report_is_an_object_in_json_and_several_are_a_list(
    model_file: Path, text: Path
) -> None:
    (report,) = inspect_runs([model_file], text=text)
    assert to_json([report])["name"] == str(model_file)
    assert [run["name"] for run in to_json([report, report])["runs"]] == [str(model_file)] * 2


def test_a_loaded_model_is_read_and_only_the_parts_that_are_asked_for(
    model_file: Path, text: Path
) -> None:
    model = charlm.load(model_file)
    whole, part = (
        charlm.inspect(model, text=text, only=only) for only in ((), ("loss_by_class", "spectrum"))
    )
    assert [one["nats"] for one in whole.data["surprise"]] == pytest.approx(
        model.score(ABBA).tolist(), rel=1e-4
    )
    made = {name for name in SECTIONS if part.data[name] is not None}
    assert made == {"loss_by_class", "spectrum"}
    assert all(part.data[name] == whole.data[name] for name in (*made, "name", "spectral_radius"))
    assert [*part.figures] == ["loss_by_class", "spectrum"]
    frame = part._repr_html_()  # of a notebook
    assert frame.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert str(model_file) in frame


def test_a_part_that_does_not_exist_is_refused(model_file: Path, text: Path) -> None:
    with pytest.raises(CharlmError, match=r"^only: found 'spektrum'; must be .*, spectrum, "):
        charlm.inspect(model_file, text=text, only=["spektrum"])
    with pytest.raises(CharlmError, match=r"^section: found 'spektrum'; must be "):
        charlm.inspect(model_file, text=text, only=["spectrum"]).get("spektrum")


def test_a_page_that_cannot_be_written_or_would_replace_the_text_is_refused(
    model_file: Path, text: Path
) -> None:
    for out in ("", "missing/report.html", "text"):
        place = text if out == "text" else text.parent / out
        with pytest.raises(
            CharlmError,
            match=r"must be the name of a file|(is a file that is read|is in .*, which is read)",
        ):
            inspect_runs([model_file], text=text, out=place)
        assert text.read_text(encoding="utf-8") == ABBA


def test_without_a_name_the_newest_run_is_read(trained_run: Path, text: Path) -> None:
    shutil.copytree(trained_run, "runs/plays", ignore=shutil.ignore_patterns("checkpoints"))
    (report,) = inspect_runs([], text=text)
    assert to_json([report])["name"] == "runs/plays"
