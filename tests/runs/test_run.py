"""Beginning a run, and opening it again."""

import shutil
from pathlib import Path

import pytest

from charlm.config.file import load_config
from charlm.config.schema import Config, CorpusConfig
from charlm.errors import CharlmError
from charlm.hardware import core_count
from charlm.network.bundle import Bundle, read_bundle
from charlm.runs.folder import is_run
from charlm.runs.run import begin_run, open_run, run_corpus, settle_parts
from charlm.storage.lock import only_writer
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import read_vocabulary


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text of 20 characters."""
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    return tmp_path / "text.txt"


def test_new_run_has_a_config_a_vocabulary_metrics_and_a_corpus(tmp_path: Path, text: Path) -> None:
    folder = tmp_path / "run"
    config = settle_parts(Config(seed=5))
    run = begin_run(folder, config, text)
    assert is_run(folder)
    assert load_config(folder / "config.yaml") == run.config == config
    assert read_vocabulary(folder / "vocabulary.json").characters == ("\n", "a", "b", "c", "d")
    assert len(run.corpus.ids) == 20
    assert (folder / "metrics.jsonl").read_bytes() == b""


def test_parts_of_a_batch_are_the_cores_of_the_machine_and_stay_in_the_run(tmp_path: Path, text: Path) -> None:
    run = begin_run(tmp_path / "run", Config(), text)
    assert run.config.training.parts == core_count()
    assert open_run(tmp_path / "run").config == run.config


def test_parts_of_a_batch_that_are_set_are_kept() -> None:
    config = Config.model_validate({"training": {"epochs": 1, "parts": core_count() + 1}})
    assert settle_parts(config) == config


def test_new_run_links_to_an_existing_corpus(tmp_path: Path, text: Path) -> None:
    tokenize([str(text)], tmp_path / "corpus", CorpusConfig())
    begin_run(tmp_path / "run", Config(), tmp_path / "corpus")
    assert (tmp_path / "run" / "corpus").readlink() == (tmp_path / "corpus").resolve()


def test_run_can_be_opened_with_other_settings(tmp_path: Path, text: Path) -> None:
    begin_run(tmp_path / "run", Config(seed=5), text)
    run = open_run(tmp_path / "run", overrides=["training.epochs=3"])
    assert (run.config.seed, run.config.training.epochs) == (5, 3)
    assert len(run.corpus.ids) == 20


def test_folder_that_is_not_a_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="not a run"):
        open_run(tmp_path)


def test_run_whose_corpus_has_another_vocabulary_is_refused(tmp_path: Path, text: Path) -> None:
    begin_run(tmp_path / "run", Config(), text)
    shutil.rmtree(tmp_path / "run/corpus")
    text.write_text("wxyz\n" * 4, encoding="utf-8")
    tokenize([str(text)], tmp_path / "run/corpus", CorpusConfig())
    with pytest.raises(CharlmError, match="run/corpus: not the corpus that the run began with; start a new run"):
        open_run(tmp_path / "run")


def test_folder_that_holds_a_run_is_refused(tmp_path: Path, text: Path) -> None:
    begin_run(tmp_path / "run", Config(), text)
    with pytest.raises(CharlmError, match="run: holds a run; continue it with --resume"):
        begin_run(tmp_path / "run", Config(), text)
    assert is_run(tmp_path / "run")


def test_folder_with_other_files_is_refused(tmp_path: Path, text: Path) -> None:
    with pytest.raises(CharlmError, match="is not empty; name another"):
        begin_run(tmp_path, Config(), text)
    assert text.exists()


@pytest.mark.parametrize("existed", [True, False])
def test_run_that_cannot_begin_leaves_the_folder_as_it_was(tmp_path: Path, existed: bool) -> None:
    folder = tmp_path / "run"
    if existed:
        folder.mkdir()
    with pytest.raises(CharlmError):
        begin_run(folder, Config(), tmp_path / "nowhere.txt")
    assert folder.exists() == existed
    assert list(tmp_path.rglob("*")) == [folder] * existed


def unfinished(folder: Path) -> Path:
    """Make what a process leaves behind if it is killed while it begins a run."""
    (folder / "corpus").mkdir(parents=True)
    (folder / ".corpus-x1y2").mkdir()
    for name in (".lock", "corpus/ids.bin", "vocabulary.json", "metrics.jsonl", ".config.yaml.12.tmp"):
        (folder / name).touch()
    return folder


def test_run_begins_in_a_folder_that_a_killed_process_left_behind(tmp_path: Path, text: Path) -> None:
    folder = unfinished(tmp_path / "run")
    begin_run(folder, Config(), text)
    found = sorted(path.name for path in folder.iterdir())
    assert found == [".lock", "config.yaml", "corpus", "metrics.jsonl", "vocabulary.json"]


def test_link_to_a_corpus_is_replaced_and_the_corpus_stays(tmp_path: Path, text: Path) -> None:
    tokenize([str(text)], tmp_path / "corpus", CorpusConfig())
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").touch()
    (tmp_path / "run/corpus").symlink_to(tmp_path / "corpus", target_is_directory=True)
    begin_run(tmp_path / "run", Config(), text)
    assert (tmp_path / "corpus/ids.bin").is_file()
    assert not (tmp_path / "run/corpus").is_symlink()


def test_unfinished_run_with_other_files_is_refused(tmp_path: Path, text: Path) -> None:
    folder = unfinished(tmp_path / "run")
    (folder / "thesis.txt").touch()
    with pytest.raises(CharlmError, match="is not empty"):
        begin_run(folder, Config(), text)
    assert (folder / "corpus/ids.bin").exists()


def test_run_that_another_process_begins_is_refused(tmp_path: Path, text: Path) -> None:
    folder = unfinished(tmp_path / "run")
    with only_writer(folder), pytest.raises(CharlmError, match="is training here"):
        begin_run(folder, Config(), text)
    assert (folder / "corpus/ids.bin").exists()


# The text that a bundle was trained on


def test_corpus_of_a_bundle_is_that_of_its_run(trained_run: Path) -> None:
    corpus = run_corpus(trained_run / "best", read_bundle(trained_run / "best"))
    assert corpus is not None
    assert corpus.folder == trained_run / "corpus"


def test_bundle_without_its_run_has_no_corpus(trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    assert run_corpus(copy, read_bundle(copy)) is None


def test_corpus_with_another_vocabulary_than_the_bundle_is_refused(trained_run: Path, bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="corpus: not the corpus that the run was trained on"):
        run_corpus(trained_run / "best", bundle)
