"""The making of a report: its sections, notes and limits, and what is refused."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import ABBA
from inspection.networks import one_layer, random_ids
from inspection.reports import SMALL
from models import as_model, make_random_model
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

import charlm
from charlm.api.evaluation import ScoredText
from charlm.api.model import Model
from charlm.core.architecture import Architecture
from charlm.core.model_file import TrainedModel, write_model
from charlm.core.rnn import Parameters
from charlm.core.scoring import mean_score, score_stream
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError
from charlm.events import Event, Note, Progress
from charlm.inspection.inspecting import inspect_runs, to_json
from charlm.inspection.loss_by_class import ClassLoss
from charlm.inspection.reading import Limits, Reading, limits_for
from charlm.inspection.report import Report, inspect_text
from charlm.inspection.style import to_plain
from charlm.measures.estimates import Estimate


def reading(
    trained: TrainedModel,
    *,
    ids: NDArray[Any] | None = None,
    training: NDArray[Any] | None = None,
    **changes: Any,
) -> Reading:
    """Return a text for the random network to read; None = a random one of 400 ids."""
    text = ScoredText("a text", random_ids(400) if ids is None else ids, {}, training)
    plain = Reading("trained", trained, text, SMALL, Path("model.safetensors"))
    return replace(plain, **changes)


# Sections


@pytest.fixture(scope="module")
def small_model() -> TrainedModel:
    """Return a random model with reserved ids, which no test changes."""
    vocabulary = Vocabulary(("\n", "a", "b", None, None), unknown_id=3, end_of_text_id=4)
    return make_random_model(vocabulary=vocabulary, layers=2)


@pytest.fixture(scope="module")
def report(small_model: TrainedModel) -> Report:
    """Return a report with a training text."""
    return inspect_text(reading(small_model, training=random_ids(500, seed=9)))


def test_the_progress_of_a_run_counts_its_sections(model_file: Path, text: Path) -> None:
    events: list[Event] = []
    run = text.with_name("run")
    run.mkdir()
    shutil.copy(model_file, run / "last.safetensors")
    charlm.inspect(run, text=text, only=["spectrum", "loss_by_class"], on_event=events.append)
    assert events == [
        Note(f"{run}: no best model yet; using the model of the last step"),
        Progress("report", 0, 2, "part", f"{run}: loss by class"),
        Progress("report", 1, 2, "part", f"{run}: spectrum"),
    ]


def test_a_page_without_matplotlib_is_refused_before_the_work(
    model_file: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    events: list[Event] = []
    with pytest.raises(ModuleNotFoundError, match="matplotlib"):
        charlm.inspect(model_file, text=text, out="page.html", on_event=events.append)
    assert events == []
    assert charlm.inspect(model_file, text=text, only="network").results.keys() == {"network"}


def test_a_run_that_is_named_twice_is_one_run(trained_run: Path) -> None:
    names: list[Any] = [trained_run / "best.safetensors", charlm.load(trained_run), trained_run]
    (report,) = inspect_runs(names, only="network")
    assert report.reading.name == str(names[0])


def test_a_text_that_the_model_learnt_has_no_n_gram_models(trained_run: Path) -> None:
    text = trained_run.parent / "text.txt"
    report = charlm.inspect(trained_run, text=text, only=["loss_by_class"])
    assert report.get("loss_by_class").comparison is None
    assert report.data["notes"] == ["No n-gram models, because the model learnt this text."]


def test_a_report_reads_a_limited_number_of_characters(report: Report) -> None:
    assert len(report.get("surprise").ids) == 299
    assert report.get("loss_by_class").positions.count == 299
    assert report.get("usable_context").positions.count == 199
    assert report.notes == ("Only the first 300 of 400 characters of the text were read.",)


# Numbers


@pytest.fixture(scope="module")
def report_of_repeats(small_model: TrainedModel) -> Report:
    """Return a report whose training text is the text itself."""
    ids = np.tile([0, 0, 1, 0, 2], 80)
    limits = Limits(400, 400, 20, 2000, 128)
    return inspect_text(reading(small_model, ids=ids, training=ids, limits=limits))


def test_the_loss_of_a_report_is_the_score_of_the_text(
    report_of_repeats: Report,
    small_model: TrainedModel,
) -> None:
    ids = np.tile([0, 0, 1, 0, 2], 80)
    expected = mean_score(score_stream(small_model.parameters, ids))
    loss = report_of_repeats.get("loss_by_class")
    context = report_of_repeats.get("usable_context")
    assert loss.nats_per_char.value == pytest.approx(expected.nats_per_char)
    assert context.whole_nats == pytest.approx(expected.nats_per_char)
    assert loss.comparison.ngram_nats_per_char == pytest.approx(context.ngram_nats[6])  # 8-gram


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(np.zeros(50, np.int64), id="a repeated character"),
        pytest.param(np.tile([3, 4, 3, 1], 75), id="long with reserved ids"),
    ],
)
def test_a_strange_text_has_a_report_of_finite_numbers(
    ids: NDArray[Any],
    trained: TrainedModel,
) -> None:
    report = inspect_text(reading(trained, ids=ids, training=ids))
    assert len(report.data["surprise"]) == min(len(ids), 300) - 1
    assert all(isinstance(character["nats"], float) for character in report.data["surprise"])
    assert all(np.isfinite(row.chance) for row in report.get("units").features)


def test_n_gram_models_learn_from_the_end_of_the_training_text(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = random_ids(200, seed=9)
    expected = reading(trained, training=training[150:]).ngram_nats[8]
    monkeypatch.setattr("charlm.inspection.reading.MAX_TRAINING_CHARACTERS", 50)
    found = reading(trained, training=training).ngram_nats[8]
    assert found.tolist() == expected.tolist()


# Refusals


def test_a_text_without_a_prediction_is_refused(trained: TrainedModel) -> None:
    with pytest.raises(CharlmError, match="a text: the model knows 1 of its characters; "):
        inspect_text(reading(trained, ids=random_ids(1)))


@pytest.mark.parametrize("section", ["surprise", "loss_by_class", "usable_context", "spectrum"])
def test_a_section_of_numbers_that_are_not_finite_is_missing(
    section: str, trained: TrainedModel
) -> None:
    trained.parameters.layers[0].recurrent_kernel[...] = np.nan
    report = inspect_text(reading(trained), only=[section])
    assert not report.results
    problem = "Array must not" if section == "spectrum" else "the loss is nan"
    assert f"missing, because of an error: {problem}" in report.notes[-1]


# Limits


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_a_report_is_made_with_a_single_thread_for_products(trained: TrainedModel) -> None:
    threads = set[int]()
    with threadpool_limits(2, "blas"):
        inspect_text(reading(trained), on_event=lambda _: threads.update(blas_threads()))
        assert blas_threads() == {2}
    assert threads == {1}


@pytest.mark.parametrize(
    ("sizes", "limits"),
    [
        pytest.param((5, 1, 832), Limits(99_803, 14_970, 399, 1_996, 127), id="701,381 weights"),
        pytest.param((5, 10, 1000), Limits(5_000, 2_500, 50, 1_000, 32), id="19 million weights"),
        pytest.param((40_000, 1, 4), Limits(100_000, 1000, 250, 500, 125), id="40,000 characters"),
    ],
)
def test_the_limits_depend_on_the_size_of_the_network(
    sizes: tuple[int, int, int],
    limits: Limits,
) -> None:
    vocabulary_size, layers, units = sizes
    architecture = Architecture(
        vocabulary_size,
        layers,
        units,
        embedding=None,
        use_bias=True,
        activation="tanh",
        skip_connections=False,
    )
    assert limits_for(Parameters(architecture, {})) == limits


@pytest.mark.parametrize(("length", "states"), [(2001, 2001), (5001, 5000)])
def test_the_states_of_a_part_of_the_text_are_held(
    length: int,
    states: int,
    trained: TrainedModel,
) -> None:
    long = reading(trained, ids=random_ids(length), limits=Limits(100_000, 3000, 20, 2000, 128))
    assert len(long.trace.ids) == 2000
    assert [len(layer) for layer in long.states] == [states, states]


def test_derivatives_are_computed_in_float64(trained: TrainedModel) -> None:
    assert reading(trained).trace.outputs[0].dtype == np.float64


def test_states_that_are_not_finite_are_refused() -> None:
    network = one_layer(np.array([[-3e38]]))
    with np.errstate(all="ignore"), pytest.raises(CharlmError, match="outputs of the network are"):
        reading(as_model(network, Vocabulary(tuple("abc")))).states  # noqa: B018


# Models and runs


def test_models_that_know_different_parts_of_a_text_are_not_averaged(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abcd" * 99, encoding="utf-8")
    files = [tmp_path / characters / "model.safetensors" for characters in ("abc", "abd")]
    for file in files:
        file.parent.mkdir()
        write_model(file, make_random_model(file.parent.name))
    groups = to_json(inspect_runs(files, text=text, only="loss_by_class"))["groups"]
    found = [(group["runs"], group["errors_over"]) for group in groups]
    assert found == [([str(file)], "text") for file in files]


@pytest.fixture
def model(model_file: Path) -> Model:
    """Return a loaded model."""
    return charlm.load(model_file)


def test_a_loaded_model_can_be_inspected(model: Model, text: Path) -> None:
    report = charlm.inspect(model, text=text)
    nats = [character["nats"] for character in report.data["surprise"]]
    assert nats == pytest.approx(model.score(ABBA).tolist(), rel=1e-4)


def test_only_some_sections_can_be_made(model: Model, text: Path) -> None:
    report = charlm.inspect(model, text=text, only=["usable_context", "memory"])
    head = {"name", "text_name", "characters", "notes"}
    memory = {"gradient_by_lag", "impulse_response", "lyapunov"}
    assert report.data.keys() == head | {"usable_context"} | memory
    assert list(report.figures) == ["usable_context", "memory"]


def test_a_report_is_shown_in_a_notebook(model: Model, model_file: Path, text: Path) -> None:
    frame = charlm.inspect(model, text=text, only=["spectrum"])._repr_html_()
    assert frame.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert str(model_file) in frame


def test_an_unknown_section_cannot_be_read(model_file: Path, text: Path) -> None:
    report = charlm.inspect(model_file, text=text, only=["spectrum"])
    with pytest.raises(CharlmError, match=r"^section: found 'spektrum'; must be "):
        report.get("spektrum")


# The file of the page


@pytest.mark.parametrize("name", ["page.html", ""], ids=["file", "folder"])
def test_a_page_does_not_replace_what_it_reads(name: str, model_file: Path, text: Path) -> None:
    folder = text.with_name("pages")
    folder.mkdir()
    out = folder / "page.html"
    shutil.copy(text, out)
    with pytest.raises(CharlmError, match=r"also an input file; choose another file$"):
        inspect_runs([model_file], text=folder / name, out=out)
    assert out.read_bytes() == text.read_bytes()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        pytest.param("", "must be the name of a file", id="folder"),
        pytest.param("missing/report.html", "must be the name of a file", id="missing folder"),
        pytest.param("report.pdf", r"its name must end with \.html$", id="not a page"),
    ],
)
def test_a_page_needs_the_name_of_a_page(
    out: str, message: str, model_file: Path, text: Path
) -> None:
    with pytest.raises(CharlmError, match=message):
        inspect_runs([model_file], text=text, out=text.parent / out)


# Numbers in JSON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            np.array([1.0, np.nan, np.inf, -np.inf]), [1.0, None, None, None], id="not finite"
        ),
        pytest.param(
            np.array([1 + 2j, complex(np.nan, 0)]), [[1.0, 2.0], [None, 0.0]], id="complex"
        ),
        pytest.param(np.float64(123456789.123), 123456800.0, id="seven digits"),
        pytest.param(
            ClassLoss("digit", 3, Estimate(1.5, 0.25), 2.0, 0.75),
            {
                "name": "digit",
                "characters": 3,
                "nats_per_char": 1.5,
                "standard_error": 0.25,
                "ngram_nats_per_char": 2.0,
                "share_of_loss": 0.75,
            },
            id="estimates",
        ),
    ],
)
def test_a_value_is_converted_for_json(value: Any, expected: Any) -> None:
    assert json.dumps(to_plain(value), allow_nan=False) == json.dumps(expected)
