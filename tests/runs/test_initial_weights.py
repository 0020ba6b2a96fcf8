"""Runs that begin with the weights of another model."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from arrays import bytes_of
from fake_runs import begin_run
from models import random_parameters

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.events import Event, InitialWeightsAdapted
from charlm.network.model_file import read_model, tensors_sha256
from charlm.runs import initial_weights
from charlm.runs.run import Run, open_run
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import Vocabulary

TINY = find_recipe("tiny")


def begin_adapted(folder: Path, init: Path | None, text: str, **options: Any) -> Run:
    """Begin a run on a text with initial weights."""
    source = folder.parent / "text.txt"
    source.write_text(text, encoding="utf-8")
    return begin_run(folder, options.pop("settings", {}), text=source, init=init, **options)


def test_a_setting_that_does_not_fit_the_parent_is_refused_with_its_key(
    tmp_path: Path, model_file: Path
) -> None:
    of_the_parent = "must be .*, as in .*model.safetensors, which has the initial weights; remove"
    needs_initial_weights = "must be the SHA-256 of the initial weights; name .* \\(init\\)"
    for key, value, message in (
        *(("model.units", 5, of_the_parent), ("model.rnn.activation", "relu", of_the_parent)),
        *(
            ("model.embedding", 3, of_the_parent),
            ("training.initial_weights", "abc", needs_initial_weights),
        ),
    ):
        for init in (model_file, *([None] if message == needs_initial_weights else [])):
            with pytest.raises(CharlmError, match=f"^{key}: found {value!r}; {message}"):
                begin_adapted(tmp_path / "run", init, "abba\n", settings={key: value})


def test_the_ids_of_the_parent_stay_and_a_corpus_keeps_its_own(
    tmp_path: Path, model_file: Path
) -> None:
    events: list[Event] = []
    run = begin_adapted(tmp_path / "run", model_file, "a\u00e9a\n" * 5, on_event=events.append)
    assert run.corpus.vocabulary.characters == ("\n", "a", "b", None, None, "\u00e9")
    assert InitialWeightsAdapted(model_file, known=2, new=1) in events
    (tmp_path / "text.txt").write_text("xbb" * 9, encoding="utf-8")
    corpus = tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())
    run = begin_run(
        tmp_path / "own", (), text=corpus.folder, init=model_file, on_event=events.append
    )
    assert run.corpus.vocabulary.characters == ("b", "x")
    assert InitialWeightsAdapted(model_file, known=1, new=1) in events
    first = initial_weights.read_initial_weights(run)
    assert first is not None
    assert read_model(run.folder / "init.safetensors").facts["step"] == 0
    assert first.logits_bias[0] == read_model(model_file).parameters.logits_bias[2]


def test_a_run_has_the_shape_and_weights_of_a_parent_and_no_more_need_of_it(
    tmp_path: Path, model_file: Path
) -> None:
    run = begin_adapted(tmp_path / "run", model_file, "abba\n" * 5, settings={"training.steps": 7})
    assert (run.config.model.layers, run.config.model.units) == (2, 4)
    assert (run.config.training.steps, run.config.training.batch_size) == (
        7,
        load_config(TINY).training.batch_size,
    )
    weights = read_model(model_file).parameters.tensors
    assert run.config.training.initial_weights == tensors_sha256(weights)
    init = model_file.rename(tmp_path / "elsewhere.safetensors")
    opened = open_run(run.folder)
    first = initial_weights.read_initial_weights(opened)
    assert opened.config == run.config
    assert first is not None
    assert bytes_of(first.tensors) == bytes_of(weights)
    shutil.rmtree(run.folder / "corpus")
    tokenize([str(tmp_path / "text.txt")], run.folder / "corpus", CorpusConfig())
    message = r"run/init\.safetensors: has another vocabulary than corpus/; start a new run"
    with pytest.raises(CharlmError, match=message):
        initial_weights.read_initial_weights(open_run(run.folder))
    recipe = (
        run.folder.rename(tmp_path / "first") / "config.yaml"
    )  # it can be used again with the same initial model
    again = begin_adapted(tmp_path / "run", init, "abba\n" * 5, recipe=recipe)
    assert again.config.model_copy(update={"recipe": "tiny"}) == run.config


KNOWN = Vocabulary(("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)
OTHER = Vocabulary((None, "c", "x", "a"), end_of_text_id=0)


def test_characters_and_reserved_ids_are_matched_by_what_they_are() -> None:
    assert initial_weights.match_ids(KNOWN, OTHER).tolist() == [4, 2, -1, 0]
    assert initial_weights.match_ids(OTHER, KNOWN).tolist() == [3, -1, 1, -1, 0]


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_a_model_predicts_known_characters_as_before(network: dict[str, Any]) -> None:
    parameters = random_parameters(**network)
    order = np.array([2, 0, 4, 1, 3])
    ids = np.array([[0, 1, 2, 3, 4, 2, 1]]).T
    moved = initial_weights.transfer(parameters, order, np.ones(5, np.int64), seed=0)
    expected, _ = parameters.unroll(order[ids], parameters.zero_state(1))
    logits, _ = moved.unroll(ids, moved.zero_state(1))
    np.testing.assert_allclose(logits, expected[..., order], atol=1e-5)


def test_rows_of_new_ids_scatter_around_the_mean_of_the_known_ones() -> None:
    parameters = random_parameters(units=300)
    matched = np.array([0, 1, 2, 3, 4, *40 * [-1]])
    child = initial_weights.transfer(parameters, matched, np.ones(45, np.int64), seed=0)
    for table, rows in (
        (parameters.layers[0].kernel, child.layers[0].kernel[5:]),
        (parameters.logits_kernel.T, child.logits_kernel.T[5:]),
    ):
        deviations = (rows - table.mean(0)) / table.std(0)
        assert deviations.mean() == pytest.approx(0, abs=0.01)
        assert deviations.std() == pytest.approx(0.3, rel=0.05)


def test_a_new_id_has_the_bias_of_a_known_one_that_is_as_frequent() -> None:
    """If the known biases are log frequencies plus a constant on average, so is that of a new id."""
    numbers = np.array([1, 5, 9, 30, 2, 9])
    parameters = random_parameters()
    parameters.logits_bias[...] = np.log((numbers[:5] + 1) / (56 + 6)) + 3
    child = initial_weights.transfer(parameters, np.array([0, 1, 2, 3, 4, -1]), numbers, seed=0)
    assert child.logits_bias[5] == pytest.approx(child.logits_bias[2], abs=1e-5)
    parameters.logits_bias[0] += 5
    child = initial_weights.transfer(parameters, np.array([0, 1, 2, 3, 4, -1]), numbers, seed=0)
    assert child.logits_bias[5] == pytest.approx(child.logits_bias[2] + 1, abs=1e-5)
    unknown = initial_weights.transfer(
        random_parameters(), np.array([-1, -1]), np.array([1, 2]), seed=0
    )
    np.testing.assert_allclose(unknown.logits_bias, np.log([2 / 5, 3 / 5]), rtol=1e-6)
