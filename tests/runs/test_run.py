"""Beginning a run, and opening it again."""

import contextlib
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import begin_with
from run_folders import contents, make_run, names

from charlm.config.file import load_config
from charlm.config.schema import Config, CorpusConfig
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel, read_model
from charlm.runs.run import Run, begin_run, corpus_identity, open_run, run_corpus, run_folder
from charlm.text.corpus import Corpus, open_corpus
from charlm.text.tokenization import tokenize


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Make a corpus of 20 characters."""
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    return tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())


def begin(folder: Path, corpus: Corpus) -> Run:
    return begin_with(folder, ["seed=5"], text=corpus.folder)


@pytest.mark.parametrize("place", ["run", "deep/in/run", "empty", "link"])
def test_a_new_run_has_a_config_metrics_and_a_corpus(tmp_path: Path, corpus: Corpus, place: str) -> None:
    folder = tmp_path / place
    (tmp_path / "empty").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    run = begin(folder, corpus)
    assert names(folder) == ["config.yaml", "corpus", "metrics.jsonl"]
    assert load_config(folder / "config.yaml") == run.config
    assert run.config.seed == 5
    assert len(run.corpus.ids) == 20
    assert (folder / "metrics.jsonl").read_bytes() == b""


def test_a_text_becomes_a_corpus_in_the_run_and_a_corpus_is_linked_to(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "linked", corpus)
    assert (tmp_path / "linked/corpus").readlink() == corpus.folder.resolve()
    begin_with(tmp_path / "own", (), text=tmp_path / "text.txt")
    assert not (tmp_path / "own/corpus").is_symlink()
    assert open_run(tmp_path / "own").corpus.manifest == open_run(tmp_path / "linked").corpus.manifest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.touch, "is not an empty folder; delete it, or name another"),
        (lambda folder: (folder / "thesis").mkdir(parents=True), "is not an empty folder; delete it, or name another"),
        (make_run, "holds a run; continue it with --resume, or name another folder"),
    ],
)
def test_a_folder_that_is_not_free_is_refused_and_stays(
    make: Callable[[Path], object], message: str, tmp_path: Path, corpus: Corpus
) -> None:
    make(tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(CharlmError, match=f"run: {message}"):
        begin(tmp_path / "run", corpus)
    assert contents(tmp_path) == before


def test_a_folder_in_which_another_process_begins_a_run_is_refused_and_stays(tmp_path: Path, corpus: Corpus) -> None:
    with run_folder(tmp_path / "run") as folder, pytest.raises(CharlmError, match="run: is not an empty folder"):
        begin(folder, corpus)
    assert names(tmp_path / "run") == ["metrics.jsonl"]


# A run that ends before it was trained


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("is_begun", [True, False])
def test_nothing_is_left_of_a_run_that_was_not_trained_and_the_corpus_that_it_links_to_stays(
    is_begun: bool, error: type[BaseException], tmp_path: Path, corpus: Corpus
) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("deep/in/run", "empty"):
        with contextlib.suppress(error), run_folder(tmp_path / place) as folder:
            (folder / "corpus").symlink_to(corpus.folder)
            if is_begun:
                begin_run(folder, Config(), corpus)
                (folder / "events.out.tfevents.1").touch()
                (folder / "checkpoints").mkdir()
            raise error
    assert names(tmp_path) == ["corpus", "empty", "text.txt"]
    assert names(tmp_path / "empty") == []
    assert len(open_corpus(corpus.folder).ids) == 20


def test_nothing_is_left_under_runs_either() -> None:
    with contextlib.suppress(ZeroDivisionError), run_folder(None, text_name="plays") as folder:
        assert re.fullmatch(r"runs/\d{8}-\d{6}-plays", str(folder))
        raise ZeroDivisionError
    assert not Path("runs").exists()


def test_a_place_for_runs_that_cannot_be_written_is_refused() -> None:
    Path("runs").symlink_to("missing")
    with pytest.raises(CharlmError, match=r"^runs: cannot be written: File exists"), run_folder(None):
        pass


@pytest.mark.parametrize(
    "name",
    ["best.safetensors", "last.safetensors", "checkpoints/step-0.safetensors", "teachers/2", "soft_targets.json"],
)
def test_a_run_that_was_trained_or_has_teachers_stays(name: str, tmp_path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), run_folder(tmp_path / "run") as folder:
        (folder / name).mkdir(parents=True)
        raise ZeroDivisionError
    assert (tmp_path / "run" / name).is_dir()


# Opening a run


def test_a_run_can_be_opened_with_other_settings(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "run", corpus)
    run = open_run(tmp_path / "run", overrides=["training.epochs=3"])
    assert (run.config.seed, run.config.training.epochs) == (5, 3)
    assert len(run.corpus.ids) == 20


def test_a_setting_that_must_stay_is_refused_before_the_corpus_is_read(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "run", corpus)
    (corpus.folder / "ids.npy").unlink()
    with pytest.raises(CharlmError, match=r"^model\.units: found 9; must be 16, as at the start of the run"):
        open_run(tmp_path / "run", overrides=["model.units=9"])


# The text that a model was trained on


def test_another_text_or_split_with_the_same_vocabulary_than_that_of_the_model_is_refused(
    tmp_path: Path, corpus: Corpus, trained: TrainedModel
) -> None:
    run = begin(tmp_path / "run", corpus)
    facts = {**trained.facts, "corpus": corpus_identity(corpus)}
    trained = replace(trained, vocabulary=corpus.vocabulary, facts=facts)
    found = run_corpus(run.folder / "best.safetensors", trained)
    assert found is not None
    assert found.manifest == corpus.manifest
    for other, fraction in (("dcba\n" * 4, 0.1), ("abcd\n" * 4, 0.5)):
        (tmp_path / "text.txt").write_text(other, encoding="utf-8")
        shutil.rmtree(corpus.folder)
        tokenize([str(tmp_path / "text.txt")], corpus.folder, CorpusConfig(validation_fraction=fraction))
        with pytest.raises(CharlmError, match="run/corpus: not the corpus that the run was trained on"):
            run_corpus(run.folder / "best.safetensors", trained)


def test_the_corpus_of_a_model_is_that_of_its_run(trained_run: Path, tmp_path: Path) -> None:
    corpus = run_corpus(trained_run / "best.safetensors", read_model(trained_run / "best.safetensors"))
    assert corpus is not None
    assert corpus.folder == trained_run / "corpus"
    copy = Path(shutil.copy(trained_run / "best.safetensors", tmp_path / "copy.safetensors"))
    assert run_corpus(copy, read_model(copy)) is None
