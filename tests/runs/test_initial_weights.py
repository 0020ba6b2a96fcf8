"""Runs that begin with the weights of another model, the initial model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from arrays import bytes_of
from fake_runs import begin_run
from models import random_parameters

from charlm.config.schema import CorpusConfig
from charlm.core.model_file import read_model
from charlm.core.rnn import Parameters
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError
from charlm.events import Event, Note
from charlm.runs.initial_weights import match_ids, read_initial_weights, transfer
from charlm.runs.run import Run
from charlm.text.tokenization import tokenize


def begin(init: Path | None, text: str, settings: dict[str, Any], **options: Any) -> Run:
    """Begin a run on a text in the folder `run`, perhaps with initial weights."""
    Path("text.txt").write_text(text, encoding="utf-8")
    return begin_run(Path("run"), settings, text=Path("text.txt"), init=init, **options)


def initial_weights_of(run: Run) -> Parameters:
    """Return the initial weights of a run with an initial model."""
    weights = read_initial_weights(run)
    assert weights is not None
    return weights


@pytest.fixture
def adapted(model_file: Path) -> Run:
    """Begin a run with the weights of a model."""
    return begin(model_file, "abba\n" * 5, {"training.steps": 7})


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.units", 5), ("model.rnn.activation", "relu"), ("model.embedding", 3)],
)
def test_a_setting_that_does_not_fit_the_initial_model_is_refused(
    key: str,
    value: Any,
    model_file: Path,
) -> None:
    message = "must be .*, as in .*model.safetensors, which has the initial weights; remove"
    with pytest.raises(CharlmError, match=f"^{key}: found {value!r}; {message}"):
        begin(model_file, "abba\n", {key: value})


def test_the_initial_model_of_a_recipe_is_needed() -> None:
    message = "this recipe began with the weights of a model; give the model with --init"
    with pytest.raises(CharlmError, match=rf"^training.initial_weights: {message}"):
        begin(None, "abba\n" * 5, {"training.initial_weights": "abc"})


def test_the_config_of_a_run_can_be_used_again_with_its_initial_model(
    adapted: Run,
    model_file: Path,
) -> None:
    recipe = adapted.folder.rename("first") / "config.yaml"
    again = begin(model_file, "abba\n" * 5, {}, recipe=recipe)
    assert again.config.model_copy(update={"recipe": "tiny"}) == adapted.config


# Vocabularies


def test_a_text_gets_the_ids_of_the_initial_model(model_file: Path) -> None:
    events: list[Event] = []
    run = begin(model_file, "aaa\n" * 5 + "\u00e9", {}, on_event=events.append)  # é: validation
    assert run.corpus.vocabulary.characters == ("\n", "a", "b", None, None, "\u00e9")
    message = f"initial weights from {model_file}: 1 new character"
    assert Note(message) in events


def test_a_corpus_keeps_its_ids(model_file: Path) -> None:
    Path("text.txt").write_text("xbb" * 9, encoding="utf-8")
    corpus = tokenize(["text.txt"], Path("corpus"), CorpusConfig())
    run = begin_run(Path("run"), "seed=5", text=corpus.folder, init=model_file)
    assert run.corpus.vocabulary.characters == ("b", "x")
    parameters = read_model(model_file).parameters
    expected = transfer(parameters, np.array([2, -1]), np.array([16, 8]), seed=5)
    assert bytes_of(initial_weights_of(run).tensors) == bytes_of(expected.tensors)


KNOWN = Vocabulary(("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)
OTHER = Vocabulary((None, "c", "x", "a"), end_of_text_id=0)


def test_ids_are_matched_by_their_characters_or_purpose() -> None:
    assert match_ids(KNOWN, OTHER).tolist() == [4, 2, -1, 0]
    assert match_ids(OTHER, KNOWN).tolist() == [3, -1, 1, -1, 0]


# The transfer of weights


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_a_model_predicts_known_characters_as_before(network: dict[str, Any]) -> None:
    parameters = random_parameters(**network)
    order = np.array([2, 0, 4, 1, 3])
    ids = np.array([[0, 1, 2, 3, 4, 2, 1]]).T
    moved = transfer(parameters, order, np.ones(5, np.int64), seed=0)
    expected, _ = parameters.unroll(order[ids], parameters.zero_state(1))
    logits, _ = moved.unroll(ids, moved.zero_state(1))
    np.testing.assert_allclose(logits, expected[..., order], atol=1e-5)


@pytest.mark.parametrize("table", ["kernel", "logits kernel"])
def test_rows_of_new_ids_scatter_around_the_mean_of_the_known_ones(table: str) -> None:
    source = random_parameters(units=300)
    matched = np.array([0, 1, 2, 3, 4, *40 * [-1]])
    target = transfer(source, matched, np.ones(45, np.int64), seed=0)
    known, new = (
        model.layers[0].kernel if table == "kernel" else model.logits_kernel.T
        for model in (source, target)
    )
    deviations = (new[5:] - known.mean(0)) / known.std(0)
    assert deviations.mean() == pytest.approx(0, abs=0.01)
    assert deviations.std() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("shift", [0, 5])
def test_a_new_id_has_the_bias_of_a_known_one_that_is_as_frequent(shift: float) -> None:
    """The biases of the known ids that occur are log frequencies plus a constant, on average."""
    counts = np.array([1, 5, 9, 30, 0, 9])
    parameters = random_parameters()
    parameters.logits_bias[...] = np.log((counts[:5] + 1) / (54 + 6)) + 3
    parameters.logits_bias[[0, 4]] += [shift, 9]
    target = transfer(parameters, np.array([0, 1, 2, 3, 4, -1]), counts, seed=0)
    assert target.logits_bias[5] == pytest.approx(target.logits_bias[2] + shift / 4, abs=1e-5)
