"""Beginning a run, and opening it again."""

import contextlib
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from arrays import bytes_of
from fake_runs import begin_with
from models import random_parameters
from run_folders import contents, make_run, names

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, CorpusConfig
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel, read_model, tensors_sha256
from charlm.runs import run as runs
from charlm.text.corpus import Corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import Vocabulary


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Make a corpus of 20 characters."""
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    return tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())


TINY = find_recipe("tiny")


def begin(folder: Path, corpus: Corpus) -> runs.Run:
    return begin_with(folder, ["seed=5"], text=corpus.folder)


def test_a_new_run_has_a_config_metrics_and_a_corpus_or_a_link_to_one(tmp_path: Path, corpus: Corpus) -> None:
    for name in ("empty", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for place in ("run", "deep/in/run", "empty", "link"):
        folder = tmp_path / place
        run = begin(folder, corpus)
        assert names(folder) == ["config.yaml", "corpus", "metrics.jsonl"]
        assert load_config(folder / "config.yaml") == run.config
        assert run.config.seed == 5
        assert (folder / "metrics.jsonl").read_bytes() == b""
        assert (folder / "corpus").readlink() == corpus.folder.resolve()
    begin_with(tmp_path / "own", (), text=tmp_path / "text.txt")
    assert not (tmp_path / "own/corpus").is_symlink()
    assert runs.open_run(tmp_path / "own").corpus.manifest == corpus.manifest


def test_a_folder_that_is_not_free_is_refused_and_stays(tmp_path: Path, corpus: Corpus) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full/thesis").mkdir(parents=True)
    make_run(tmp_path / "run")
    before = contents(tmp_path)
    wrong = "is not an empty folder; name another"
    for name, message in (("file", wrong), ("full", wrong), ("run", "holds a run; continue it with --resume")):
        with pytest.raises(CharlmError, match=f"{name}: {message}"):
            begin(tmp_path / name, corpus)
    assert contents(tmp_path) == before
    with runs.run_folder(tmp_path / "other") as folder, pytest.raises(CharlmError, match="is not an empty folder"):
        begin(folder, corpus)  # as another process would
    assert names(tmp_path / "other") == ["metrics.jsonl"]


TRAINED = ("best.safetensors", "last.safetensors", "checkpoints/step-0.safetensors")
TAUGHT = ("teachers/2", "soft_targets.bin")


@pytest.mark.parametrize("is_begun", [True, False])
@pytest.mark.parametrize("name", ["events.out.tfevents.1", "checkpoints/notes", *TRAINED, *TAUGHT])
def test_a_run_that_was_not_trained_is_removed(name: str, is_begun: bool, tmp_path: Path, corpus: Corpus) -> None:
    (tmp_path / "empty").mkdir()
    stays = name in TRAINED or (is_begun and name in TAUGHT)
    for place in ("deep/in/run", "empty"):
        with contextlib.suppress(KeyboardInterrupt), runs.run_folder(tmp_path / place) as folder:
            (folder / "corpus").symlink_to(corpus.folder)
            (folder / name).mkdir(parents=True)
            if is_begun:
                runs.begin_run(folder, Config(), corpus)
            raise KeyboardInterrupt
        assert (tmp_path / place / name).exists() == stays
    assert names(tmp_path) == ["corpus", *["deep"] * stays, "empty", "text.txt"]
    assert stays or names(tmp_path / "empty") == []
    assert len(open_corpus(corpus.folder).ids) == 20  # which the run links to


def test_nothing_is_left_under_runs_either_which_must_be_a_place_that_can_be_written() -> None:
    with contextlib.suppress(ZeroDivisionError), runs.run_folder(None, text_name="plays") as folder:
        assert re.fullmatch(r"runs/\d{8}-\d{6}-plays", str(folder))
        raise ZeroDivisionError
    assert not Path("runs").exists()
    Path("runs").symlink_to("missing")
    with pytest.raises(CharlmError, match=r"^runs: cannot be written: File exists"), runs.run_folder(None):
        pass


def test_a_run_can_be_opened_with_other_settings_but_those_that_must_stay(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "run", corpus)
    run = runs.open_run(tmp_path / "run", overrides=["training.epochs=3"])
    assert (run.config.seed, run.config.training.epochs) == (5, 3)
    assert len(run.corpus.ids) == 20
    (corpus.folder / "ids.npy").unlink()  # which is read later
    with pytest.raises(CharlmError, match=r"^model\.units: found 9; must be 16, as at the start of the run"):
        runs.open_run(tmp_path / "run", overrides=["model.units=9"])


def test_a_model_has_the_corpus_of_its_run(tmp_path: Path, corpus: Corpus, trained: TrainedModel) -> None:
    run = begin(tmp_path / "run", corpus)
    trained = replace(trained, vocabulary=corpus.vocabulary, facts={"corpus": runs.corpus_identity(corpus)})
    for model in (trained, replace(trained, facts={})):  # an imported one does not know its text
        found = runs.run_corpus(run.folder / "best.safetensors", model)
        assert found is not None
        assert (found.folder, found.manifest) == (run.folder / "corpus", corpus.manifest)
    assert runs.run_corpus(tmp_path / "copy.safetensors", trained) is None
    for other, fraction in (("dcba\n" * 4, 0.1), ("abcd\n" * 4, 0.5), ("bcd\n" * 5, 0.1)):
        (tmp_path / "text.txt").write_text(other, encoding="utf-8")
        shutil.rmtree(corpus.folder)
        tokenize([str(tmp_path / "text.txt")], corpus.folder, CorpusConfig(validation_fraction=fraction))
        with pytest.raises(CharlmError, match="run/corpus: not the corpus that the run was trained on"):
            runs.run_corpus(run.folder / "best.safetensors", trained)
    (run.folder / "corpus").unlink()
    assert runs.run_corpus(run.folder / "best.safetensors", trained) is None


def begin_adapted(folder: Path, parent: Path | None, text: str, **options: Any) -> runs.Run:
    """Begin a run on a text with the weights of a parent."""
    source = folder.parent / "text.txt"
    source.write_text(text, encoding="utf-8")
    return begin_with(folder, options.pop("settings", {}), text=source, parent=parent, **options)


def test_a_setting_that_does_not_fit_the_parent_is_refused_with_its_key(tmp_path: Path, model_file: Path) -> None:
    of_the_parent = "must be .*, as in .*model.safetensors, whose weights training begins with; leave"
    needs_a_parent = "must be the weights that training begins with; name .* with --init"
    for key, value, message in (
        *(("model.units", 5, of_the_parent), ("model.rnn.activation", "relu", of_the_parent)),
        *(("model.embedding", 3, of_the_parent), ("training.first_weights", "abc", needs_a_parent)),
    ):
        for parent in (model_file, *([None] if message == needs_a_parent else [])):
            with pytest.raises(CharlmError, match=f"^{key}: found {value!r}; {message}"):
                begin_adapted(tmp_path / "run", parent, "abba\n", settings={key: value})


def test_the_ids_of_the_parent_stay_and_a_corpus_keeps_its_own(tmp_path: Path, model_file: Path) -> None:
    said: list[str] = []
    run = begin_adapted(tmp_path / "run", model_file, "a\u00e9a\n" * 5, say=said.append)
    assert run.corpus.vocabulary.characters == ("\n", "a", "b", None, None, "\u00e9")
    assert said[:1] == [f"init: {model_file}: characters of the text: 2 known, 1 new"]
    (tmp_path / "text.txt").write_text("xbb" * 9, encoding="utf-8")
    corpus = tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())
    run = begin_with(tmp_path / "own", (), text=corpus.folder, parent=model_file, say=said.append)
    assert run.corpus.vocabulary.characters == ("b", "x")
    assert f"init: {model_file}: characters of the text: 1 known, 1 new" in said
    first = runs.read_initial(run)
    assert first is not None
    assert read_model(run.folder / "init.safetensors").facts["step"] == 0
    assert first.logits_bias[0] == read_model(model_file).parameters.logits_bias[2]


def test_a_run_has_the_shape_and_weights_of_a_parent_and_no_more_need_of_it(tmp_path: Path, model_file: Path) -> None:
    run = begin_adapted(tmp_path / "run", model_file, "abba\n" * 5, settings={"training.steps": 7})
    assert (run.config.model.layers, run.config.model.units) == (2, 4)
    assert (run.config.training.steps, run.config.training.batch_size) == (7, load_config(TINY).training.batch_size)
    weights = read_model(model_file).parameters.tensors()
    assert run.config.training.first_weights == tensors_sha256(weights)
    parent = model_file.rename(tmp_path / "elsewhere.safetensors")
    opened = runs.open_run(run.folder)
    first = runs.read_initial(opened)
    assert opened.config == run.config
    assert first is not None
    assert bytes_of(first.tensors()) == bytes_of(weights)
    shutil.rmtree(run.folder / "corpus")
    tokenize([str(tmp_path / "text.txt")], run.folder / "corpus", CorpusConfig())
    message = r"run/init\.safetensors: has another vocabulary than corpus/; start a new run"
    with pytest.raises(CharlmError, match=message):
        runs.read_initial(runs.open_run(run.folder))
    recipe = run.folder.rename(tmp_path / "first") / "config.yaml"  # it can be used again with the same parent
    again = begin_adapted(tmp_path / "run", parent, "abba\n" * 5, recipe=recipe)
    assert again.config.model_copy(update={"recipe": "tiny"}) == run.config


KNOWN = Vocabulary(("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)
OTHER = Vocabulary((None, "c", "x", "a"), end_of_text_id=0)


def test_characters_and_reserved_ids_are_matched_by_what_they_are() -> None:
    assert runs.match_ids(KNOWN, OTHER).tolist() == [4, 2, -1, 0]
    assert runs.match_ids(OTHER, KNOWN).tolist() == [3, -1, 1, -1, 0]


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_a_model_predicts_known_characters_as_before(network: dict[str, Any]) -> None:
    parameters = random_parameters(**network)
    order = np.array([2, 0, 4, 1, 3])
    ids = np.array([[0, 1, 2, 3, 4, 2, 1]]).T
    moved = runs.transfer(parameters, order, np.ones(5, np.int64), seed=0)
    expected, _ = parameters.unroll(order[ids], parameters.zero_state(1))
    logits, _ = moved.unroll(ids, moved.zero_state(1))
    np.testing.assert_allclose(logits, expected[..., order], atol=1e-5)


def test_rows_of_new_ids_scatter_around_the_mean_of_the_known_ones() -> None:
    parameters = random_parameters(units=300)
    matched = np.array([0, 1, 2, 3, 4, *40 * [-1]])
    child = runs.transfer(parameters, matched, np.ones(45, np.int64), seed=0)
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
    child = runs.transfer(parameters, np.array([0, 1, 2, 3, 4, -1]), numbers, seed=0)
    assert child.logits_bias[5] == pytest.approx(child.logits_bias[2], abs=1e-5)
    parameters.logits_bias[0] += 5
    child = runs.transfer(parameters, np.array([0, 1, 2, 3, 4, -1]), numbers, seed=0)
    assert child.logits_bias[5] == pytest.approx(child.logits_bias[2] + 1, abs=1e-5)
    unknown = runs.transfer(random_parameters(), np.array([-1, -1]), np.array([1, 2]), seed=0)
    np.testing.assert_allclose(unknown.logits_bias, np.log([2 / 5, 3 / 5]), rtol=1e-6)
