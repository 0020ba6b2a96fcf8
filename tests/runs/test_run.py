"""Beginning a run, and opening it again."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import ticking
from run_folders import names

from charlm.config.file import load_config
from charlm.config.schema import Config, CorpusConfig
from charlm.errors import CharlmError
from charlm.network.bundle import Bundle, read_bundle
from charlm.runs.folder import is_run
from charlm.runs.run import Run, begin_run, corpus_identity, discard_run, open_run, run_corpus, scratch_run
from charlm.storage.locks import only_writer
from charlm.text.corpus import Corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import read_vocabulary


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Make a corpus of 20 characters."""
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    return tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())


def begin(folder: Path, corpus: Corpus, *, seed: int = 1) -> Run:
    with scratch_run(folder) as scratch:
        return begin_run(folder, Config(seed=seed), corpus, scratch=scratch)


@pytest.mark.parametrize("place", ["run", "deep/in/run", "empty", "link"])
def test_a_new_run_has_a_config_a_vocabulary_metrics_and_a_corpus(tmp_path: Path, corpus: Corpus, place: str) -> None:
    folder = tmp_path / place
    (tmp_path / "empty").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    run = begin(folder, corpus, seed=5)
    assert set(names(folder)) - {".lock"} == {"config.yaml", "corpus", "metrics.jsonl", "vocabulary.json"}
    assert load_config(folder / "config.yaml") == run.config == Config(seed=5)
    assert read_vocabulary(folder / "vocabulary.json").characters == ("\n", "a", "b", "c", "d")
    assert len(run.corpus.ids) == 20
    assert (folder / "metrics.jsonl").read_bytes() == b""
    assert not list(tmp_path.rglob(".charlm-*"))


def test_a_corpus_made_aside_becomes_part_of_the_run_and_any_other_is_linked_to(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "linked", corpus)
    assert (tmp_path / "linked/corpus").readlink() == corpus.folder.resolve()
    with scratch_run(tmp_path / "own") as scratch:
        own = tokenize([str(tmp_path / "text.txt")], scratch / "corpus", CorpusConfig())
        begin_run(tmp_path / "own", Config(), own, scratch=scratch)
    assert not (tmp_path / "own/corpus").is_symlink()
    assert open_run(tmp_path / "own").corpus.manifest == open_run(tmp_path / "linked").corpus.manifest


def test_nothing_is_left_of_a_run_that_does_not_begin(tmp_path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), scratch_run(tmp_path / "deep/in/run") as scratch:
        (scratch / "corpus").mkdir()
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_what_a_killed_process_left_aside_is_removed(tmp_path: Path, corpus: Corpus) -> None:
    (tmp_path / ".charlm-run-abcd1234.tmp/run/corpus").mkdir(parents=True)
    begin(tmp_path / "run", corpus)
    assert names(tmp_path) == ["corpus", "run", "text.txt"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.touch, "is not a folder; name another"),
        (lambda folder: (folder / "thesis").mkdir(parents=True), "is not empty; name another"),
    ],
)
def test_a_folder_that_is_not_free_is_refused(
    make: Callable[[Path], object], message: str, tmp_path: Path, corpus: Corpus
) -> None:
    make(tmp_path / "run")
    with pytest.raises(CharlmError, match=f"run: {message}"):
        begin(tmp_path / "run", corpus)


def test_a_run_that_another_process_began_meanwhile_stays(tmp_path: Path, corpus: Corpus) -> None:
    with scratch_run(tmp_path / "run") as scratch:
        other = begin(tmp_path / "run", corpus, seed=5)
        with pytest.raises(CharlmError, match="run: holds a run; continue it with --resume"):
            begin_run(tmp_path / "run", Config(), corpus, scratch=scratch)
    assert open_run(tmp_path / "run").config == other.config


# Opening a run


def test_a_run_can_be_opened_with_other_settings(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "run", corpus, seed=5)
    run = open_run(tmp_path / "run", overrides=["training.epochs=3"])
    assert (run.config.seed, run.config.training.epochs) == (5, 3)
    assert len(run.corpus.ids) == 20


def test_a_setting_that_must_stay_is_refused_before_the_corpus_is_read(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "run", corpus)
    (corpus.folder / "ids.npy").unlink()
    with pytest.raises(CharlmError, match=r"^model\.units: found 9; must be 512, as at the start of the run"):
        open_run(tmp_path / "run", overrides=["model.units=9"])


def test_a_run_whose_corpus_has_another_vocabulary_is_refused(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "run", corpus)
    shutil.rmtree(corpus.folder)
    (tmp_path / "text.txt").write_text("wxyz\n" * 4, encoding="utf-8")
    tokenize([str(tmp_path / "text.txt")], corpus.folder, CorpusConfig())
    with pytest.raises(CharlmError, match="run/corpus: not the corpus that the run began with; start a new run"):
        open_run(tmp_path / "run")


# Discarding a run


def test_a_run_that_was_not_trained_is_discarded_and_the_corpus_that_it_links_to_stays(
    tmp_path: Path, corpus: Corpus
) -> None:
    run = begin(tmp_path / "run", corpus)
    (run.folder / "events.out.tfevents.1").touch()
    (run.folder / "checkpoints").mkdir()
    discard_run(run)
    assert names(tmp_path) == ["corpus", "text.txt"]
    assert len(open_corpus(corpus.folder).ids) == 20


@pytest.mark.parametrize("name", ["best", "last", "checkpoints/step-000000000", "teachers/2"])
def test_a_run_that_was_trained_or_has_teachers_is_not_discarded(name: str, tmp_path: Path, corpus: Corpus) -> None:
    run = begin(tmp_path / "run", corpus)
    (run.folder / name).mkdir(parents=True)
    discard_run(run)
    assert open_run(run.folder).config == run.config


def test_a_run_that_another_process_trains_is_not_discarded(tmp_path: Path, corpus: Corpus) -> None:
    run = begin(tmp_path / "run", corpus)
    with only_writer(run.folder):
        discard_run(run, clock=ticking(1.0))
    assert is_run(run.folder)


# The text that a bundle was trained on


def test_another_text_or_split_with_the_same_vocabulary_than_that_of_the_bundle_is_refused(
    tmp_path: Path, corpus: Corpus, bundle: Bundle
) -> None:
    run = begin(tmp_path / "run", corpus)
    facts = {**bundle.facts, "corpus": corpus_identity(corpus)}
    trained = replace(bundle, vocabulary=corpus.vocabulary, facts=facts)
    found = run_corpus(run.folder / "best", trained)
    assert found is not None
    assert found.manifest == corpus.manifest
    for other, fraction in (("dcba\n" * 4, 0.1), ("abcd\n" * 4, 0.5)):
        (tmp_path / "text.txt").write_text(other, encoding="utf-8")
        shutil.rmtree(corpus.folder)
        tokenize([str(tmp_path / "text.txt")], corpus.folder, CorpusConfig(validation_fraction=fraction))
        with pytest.raises(CharlmError, match="run/corpus: not the corpus that the run was trained on"):
            run_corpus(run.folder / "best", trained)


def test_the_corpus_of_a_bundle_is_that_of_its_run(trained_run: Path, tmp_path: Path) -> None:
    corpus = run_corpus(trained_run / "best", read_bundle(trained_run / "best"))
    assert corpus is not None
    assert corpus.folder == trained_run / "corpus"
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    assert run_corpus(copy, read_bundle(copy)) is None
