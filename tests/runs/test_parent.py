"""A run that begins with the weights of another model."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RandomParameters
from fake_runs import begin_with
from numpy.typing import NDArray

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import CorpusConfig
from charlm.config.yaml import parse_yaml
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel, read_model, tensors_sha256, write_model
from charlm.runs.parent import NOISE, match_ids, read_initial, transfer
from charlm.runs.run import Run, open_run
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import Vocabulary

TINY = find_recipe("tiny")


def begin(
    tmp_path: Path,
    parent: Path | None,
    text: str | Path,
    *,
    said: list[str] | None = None,
    recipe: Path = TINY,
    **overrides: Any,
) -> Run:
    """Begin the run `run` on a text or corpus with a recipe and settings with __ for the dot."""
    if isinstance(text, str):
        (tmp_path / "text.txt").write_text(text, encoding="utf-8")
        text = tmp_path / "text.txt"
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    say = [] if said is None else said
    return begin_with(tmp_path / "run", settings, text=text, recipe=recipe, parent=parent, say=say.append)


def test_the_shape_comes_from_the_parent_and_the_rest_from_the_recipe(tmp_path: Path, model_file: Path) -> None:
    config = begin(tmp_path, model_file, "abba\n" * 5, training__steps=7).config
    assert (config.model.layers, config.model.units) == (2, 4)
    assert (config.training.steps, config.training.batch_size) == (7, load_config(TINY).training.batch_size)


@pytest.mark.parametrize("override", ["model.units=5", "model.rnn.activation=relu", "model.embedding=3"])
def test_an_override_of_the_shape_is_refused_with_its_key(tmp_path: Path, model_file: Path, override: str) -> None:
    key, _, value = override.partition("=")
    with pytest.raises(CharlmError, match=rf"^{key}: found .*; must be .*, as in .*safetensors, whose weights"):
        begin(tmp_path, model_file, tmp_path / "missing.txt", **{key: parse_yaml(value, origin="")})


def test_the_ids_of_the_parent_stay_and_new_characters_come_after_them(tmp_path: Path, model_file: Path) -> None:
    said: list[str] = []
    run = begin(tmp_path, model_file, "aéa\n" * 5, said=said)
    assert run.corpus.vocabulary.characters == ("\n", "a", "b", None, None, "é")
    assert said == [f"init: {model_file}: characters of the text: 2 known, 1 new"]


def test_on_known_characters_the_first_weights_are_those_of_the_parent(tmp_path: Path, model_file: Path) -> None:
    run = begin(tmp_path, model_file, "abba\n" * 5)
    first, parent = read_initial(run), read_model(model_file)
    assert first is not None
    assert {name: tensor.tobytes() for name, tensor in first.tensors().items()} == {
        name: tensor.tobytes() for name, tensor in parent.parameters.tensors().items()
    }


def test_the_run_names_the_weights_and_does_not_need_the_parent_any_more(tmp_path: Path, model_file: Path) -> None:
    run = begin(tmp_path, model_file, "abba\n" * 5)
    assert run.config.training.first_weights == tensors_sha256(read_model(model_file).parameters.tensors())
    model_file.unlink()
    opened = open_run(run.folder)
    assert opened.config == run.config
    assert read_initial(opened) is not None


def test_a_text_in_the_place_of_that_of_the_run_is_refused_if_its_vocabulary_is_not_that_of_the_first_weights(
    tmp_path: Path, model_file: Path
) -> None:
    run = begin(tmp_path, model_file, "abba\n" * 5)
    shutil.rmtree(run.folder / "corpus")
    tokenize([str(tmp_path / "text.txt")], run.folder / "corpus", CorpusConfig())
    with pytest.raises(
        CharlmError, match=r"run/init\.safetensors: has another vocabulary than corpus/; start a new run"
    ):
        read_initial(open_run(run.folder))


def test_a_corpus_keeps_its_own_vocabulary(tmp_path: Path, model_file: Path) -> None:
    (tmp_path / "text.txt").write_text("xbb" * 9, encoding="utf-8")
    corpus = tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())
    said: list[str] = []
    run = begin(tmp_path, model_file, corpus.folder, said=said)
    assert run.corpus.vocabulary.characters == ("b", "x")
    assert said == [f"init: {model_file}: characters of the text: 1 known, 1 new"]
    first = read_initial(run)
    assert first is not None
    assert first.logits_bias[0] == read_model(model_file).parameters.logits_bias[2]


def test_a_parent_that_has_read_the_validation_text_is_told_and_one_of_another_text_is_not(
    tmp_path: Path, trained: TrainedModel
) -> None:
    rng = np.random.default_rng(0)
    book, other = ("".join(rng.choice(list("abc"), 6000)) for _ in range(2))
    begin(tmp_path, None, book).folder.rename(tmp_path / "parent")
    write_model(tmp_path / "parent/best.safetensors", trained)
    for text, is_told in ((book[3000:5000], True), (other, False)):
        said: list[str] = []
        begin(tmp_path, tmp_path / "parent", text, said=said, corpus__validation_fraction=0.5)
        assert ("it has been trained on the validation text" in "".join(said)) == is_told
        (tmp_path / "run").rename(tmp_path / text[:9])


def test_a_config_that_names_other_weights_is_refused(tmp_path: Path, model_file: Path) -> None:
    with pytest.raises(
        CharlmError, match=r"^training\.first_weights: found 'abc', but .*safetensors has other weights"
    ):
        begin(tmp_path, model_file, "abba\n", training__first_weights="abc")
    with pytest.raises(CharlmError, match=r"^training\.first_weights: found 'abc', but no model is given; name"):
        begin(tmp_path, None, "abba\n", training__first_weights="abc")


def test_the_config_of_such_a_run_can_be_used_again_with_the_same_parent(tmp_path: Path, model_file: Path) -> None:
    run = begin(tmp_path, model_file, "abba\n" * 5)
    recipe = run.folder.rename(tmp_path / "first") / "config.yaml"
    again = begin(tmp_path, model_file, "abba\n" * 5, recipe=recipe)
    assert again.config.model_copy(update={"recipe": "tiny"}) == run.config


KNOWN = Vocabulary(("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)
OTHER = Vocabulary((None, "c", "x", "a"), end_of_text_id=0)


def counts(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def test_characters_and_reserved_ids_are_matched_by_what_they_are() -> None:
    assert match_ids(KNOWN, OTHER).tolist() == [4, 2, -1, 0]
    assert match_ids(OTHER, KNOWN).tolist() == [3, -1, 1, -1, 0]


@pytest.mark.parametrize("skip_connections", [False, True])
@pytest.mark.parametrize("embedding", [None, 3])
def test_a_model_predicts_known_characters_as_before(
    random_parameters: RandomParameters, embedding: int | None, skip_connections: bool
) -> None:
    parameters = random_parameters(layers=2, embedding=embedding, skip_connections=skip_connections)
    order = np.array([2, 0, 4, 1, 3])
    ids = np.array([[0, 1, 2, 3, 4, 2, 1]]).T
    moved = transfer(parameters, order, np.ones(5, np.int64), seed=0)
    expected, _ = parameters.unroll(order[ids], parameters.zero_state(1))
    logits, _ = moved.unroll(ids, moved.zero_state(1))
    np.testing.assert_allclose(logits, expected[..., order], atol=1e-5)


def test_rows_of_new_ids_scatter_around_the_mean_of_the_known_ones(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(units=300)
    matched = np.array([0, 1, 2, 3, 4, *40 * [-1]])
    child = transfer(parameters, matched, np.ones(45, np.int64), seed=0)
    for table, rows in (
        (parameters.layers[0].kernel, child.layers[0].kernel[5:]),
        (parameters.logits_kernel.T, child.logits_kernel.T[5:]),
    ):
        deviations = (rows - table.mean(0)) / table.std(0)
        assert deviations.mean() == pytest.approx(0, abs=0.01)
        assert deviations.std() == pytest.approx(NOISE, rel=0.05)


def test_a_new_id_has_the_bias_of_a_known_one_that_is_as_frequent(random_parameters: RandomParameters) -> None:
    """If every known bias is a constant above the logarithm of its frequency, so is that of a new id."""
    numbers = counts(1, 5, 9, 30, 2, 9)
    parameters = random_parameters()
    parameters.logits_bias[...] = np.log((numbers[:5] + 1) / (56 + 6)) + 3
    child = transfer(parameters, np.array([0, 1, 2, 3, 4, -1]), numbers, seed=0)
    assert child.logits_bias[5] == pytest.approx(child.logits_bias[2], abs=1e-5)


def test_a_text_without_known_characters_gets_the_logarithms_of_its_frequencies(
    random_parameters: RandomParameters,
) -> None:
    child = transfer(random_parameters(), np.array([-1, -1]), counts(1, 2), seed=0)
    np.testing.assert_allclose(child.logits_bias, np.log([2 / 5, 3 / 5]), rtol=1e-6)
