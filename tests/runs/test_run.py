"""Beginning a run, and opening it again."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import begin_run
from run_folders import names

from charlm.config.file import load_config
from charlm.config.recipes import DEFAULT_CORPUS, find_recipe, shipped_models
from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel, read_model
from charlm.runs import run as runs
from charlm.text.corpus import Corpus
from charlm.text.tokenization import tokenize


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Make a corpus of 20 characters."""
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    return tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())


TINY = find_recipe("tiny")


def begin(folder: Path, corpus: Corpus) -> runs.Run:
    return begin_run(folder, ["seed=5"], text=corpus.folder)


def test_a_new_run_has_a_config_metrics_and_a_corpus_or_a_link_to_one(
    tmp_path: Path, corpus: Corpus
) -> None:
    for name in ("empty", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for place in ("run", "deep/in/run", "empty", "link"):
        folder = tmp_path / place
        run = begin(folder, corpus)
        assert names(folder) == [".lock", "config.yaml", "corpus", "metrics.jsonl"]
        assert load_config(folder / "config.yaml") == run.config
        assert run.config.seed == 5
        assert (folder / "metrics.jsonl").read_bytes() == b""
        assert (folder / "corpus").readlink() == corpus.folder.resolve()
    begin_run(tmp_path / "own", (), text=tmp_path / "text.txt")
    assert not (tmp_path / "own/corpus").is_symlink()
    assert runs.open_run(tmp_path / "own").corpus.manifest == corpus.manifest


def test_a_run_can_be_opened_with_other_settings_but_those_that_must_stay(
    tmp_path: Path, corpus: Corpus
) -> None:
    begin(tmp_path / "run", corpus)
    run = runs.open_run(tmp_path / "run", overrides=["training.epochs=3"])
    assert (run.config.seed, run.config.training.epochs) == (5, 3)
    assert len(run.corpus.ids) == 20
    (corpus.folder / "ids.npy").unlink()  # which is read later
    with pytest.raises(
        CharlmError,
        match=r"^override: model\.units: found 9; must be 16 as before",
    ):
        runs.open_run(tmp_path / "run", overrides=["model.units=9"])


def test_a_model_has_the_corpus_of_its_run(
    tmp_path: Path, corpus: Corpus, trained: TrainedModel
) -> None:
    run = begin(tmp_path / "run", corpus)
    trained = replace(
        trained, vocabulary=corpus.vocabulary, facts={"corpus": runs.corpus_identity(corpus)}
    )
    for model in (trained, replace(trained, facts={})):  # an imported one does not know its text
        found = runs.run_corpus(run.folder / "best.safetensors", model)
        assert found is not None
        assert (found.folder, found.manifest) == (run.folder / "corpus", corpus.manifest)
    assert runs.run_corpus(tmp_path / "copy.safetensors", trained) is None
    for other, fraction in (("dcba\n" * 4, 0.1), ("abcd\n" * 4, 0.5), ("bcd\n" * 5, 0.1)):
        (tmp_path / "text.txt").write_text(other, encoding="utf-8")
        shutil.rmtree(corpus.folder)
        tokenize(
            [str(tmp_path / "text.txt")], corpus.folder, CorpusConfig(validation_fraction=fraction)
        )
        with pytest.raises(
            CharlmError, match="run/corpus: not the text that the model was trained on"
        ):
            runs.run_corpus(run.folder / "best.safetensors", trained)
    (run.folder / "corpus").unlink()
    assert runs.run_corpus(run.folder / "best.safetensors", trained) is None


# The model that comes with charlm


SHIPPED = shipped_models()["river-plays"]


@pytest.fixture(scope="module")
def shipped() -> TrainedModel:
    return read_model(SHIPPED)


def test_the_model_that_comes_with_charlm_has_the_plays(shipped: TrainedModel) -> None:
    corpus = runs.run_corpus(SHIPPED, shipped)
    assert corpus is not None
    plays = DEFAULT_CORPUS.read_text(encoding="utf-8")
    assert corpus.vocabulary.decode(corpus.ids) == plays
    assert corpus.vocabulary.decode(corpus.split("validation")) == plays[len(plays) * 9 // 10 :]


def test_changed_plays_are_not_taken_for_the_training_text(
    shipped: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "plays.txt"
    changed.write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[::-1], encoding="utf-8")
    monkeypatch.setattr(runs, "DEFAULT_CORPUS", changed)
    with pytest.raises(
        CharlmError,
        match=r"plays\.txt: not the text that the model was trained on: put it back, or",
    ):
        runs.run_corpus(SHIPPED, shipped)


def test_a_copy_of_the_model_elsewhere_has_no_text(shipped: TrainedModel, tmp_path: Path) -> None:
    assert runs.run_corpus(Path(shutil.copy(SHIPPED, tmp_path)), shipped) is None
