"""How a run begins, and how it is opened again."""

from pathlib import Path

import pytest

from charlm.config import Config, CorpusConfig
from charlm.config_file import load_config
from charlm.errors import CharlmError
from charlm.lock import only_writer
from charlm.preparation import begin_run, open_run
from charlm.runs import is_run
from charlm.tokenization import tokenize
from charlm.vocabulary import read_vocabulary


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text of 20 characters."""
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    return tmp_path / "text.txt"


def test_a_run_begins_with_its_config_vocabulary_metrics_and_corpus(tmp_path: Path, text: Path) -> None:
    folder = tmp_path / "run"
    run = begin_run(folder, Config(seed=5), text)
    assert is_run(folder)
    assert load_config(folder / "config.yaml") == run.config == Config(seed=5)
    assert read_vocabulary(folder / "vocabulary.json").characters == ("\n", "a", "b", "c", "d")
    assert len(run.corpus.ids) == 20
    assert (folder / "metrics.jsonl").read_bytes() == b""


def test_a_run_links_to_a_corpus_that_is_on_the_disk_already(tmp_path: Path, text: Path) -> None:
    tokenize([str(text)], tmp_path / "corpus", CorpusConfig())
    begin_run(tmp_path / "run", Config(), tmp_path / "corpus")
    assert (tmp_path / "run" / "corpus").readlink() == (tmp_path / "corpus").resolve()


def test_a_run_that_has_begun_can_be_opened_with_other_settings(tmp_path: Path, text: Path) -> None:
    begin_run(tmp_path / "run", Config(seed=5), text)
    run = open_run(tmp_path / "run", overrides=["training.epochs=3"])
    assert (run.config.seed, run.config.training.epochs) == (5, 3)
    assert len(run.corpus.ids) == 20


def test_a_folder_that_is_no_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="not a run"):
        open_run(tmp_path)


def test_a_run_does_not_begin_where_one_is(tmp_path: Path, text: Path) -> None:
    begin_run(tmp_path / "run", Config(), text)
    with pytest.raises(CharlmError, match="run: holds a run; continue it with --resume"):
        begin_run(tmp_path / "run", Config(), text)
    assert is_run(tmp_path / "run")


def test_a_run_does_not_begin_among_other_files(tmp_path: Path, text: Path) -> None:
    with pytest.raises(CharlmError, match="is not empty; name another"):
        begin_run(tmp_path, Config(), text)
    assert text.exists()


@pytest.mark.parametrize("existed", [True, False])
def test_a_run_that_cannot_begin_leaves_the_place_as_it_was(tmp_path: Path, existed: bool) -> None:
    folder = tmp_path / "run"
    if existed:
        folder.mkdir()
    with pytest.raises(CharlmError):
        begin_run(folder, Config(), tmp_path / "nowhere.txt")
    assert folder.exists() == existed
    assert list(tmp_path.rglob("*")) == [folder] * existed


def unfinished(folder: Path) -> Path:
    """Leave what a process leaves that is killed while it begins a run."""
    (folder / "corpus").mkdir(parents=True)
    (folder / ".corpus-x1y2").mkdir()
    for name in (".lock", "corpus/ids.bin", "vocabulary.json", "metrics.jsonl", ".config.yaml.12.tmp"):
        (folder / name).touch()
    return folder


def test_a_run_that_was_killed_while_it_began_is_begun_anew(tmp_path: Path, text: Path) -> None:
    folder = unfinished(tmp_path / "run")
    begin_run(folder, Config(), text)
    found = sorted(path.name for path in folder.iterdir())
    assert found == [".lock", "config.yaml", "corpus", "metrics.jsonl", "vocabulary.json"]


def test_a_link_to_a_corpus_is_begun_anew_without_the_corpus(tmp_path: Path, text: Path) -> None:
    tokenize([str(text)], tmp_path / "corpus", CorpusConfig())
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").touch()
    (tmp_path / "run/corpus").symlink_to(tmp_path / "corpus", target_is_directory=True)
    begin_run(tmp_path / "run", Config(), text)
    assert (tmp_path / "corpus/ids.bin").is_file()
    assert not (tmp_path / "run/corpus").is_symlink()


def test_files_of_someone_else_are_never_taken_for_those_of_an_unfinished_run(tmp_path: Path, text: Path) -> None:
    folder = unfinished(tmp_path / "run")
    (folder / "thesis.txt").touch()
    with pytest.raises(CharlmError, match="is not empty"):
        begin_run(folder, Config(), text)
    assert (folder / "corpus/ids.bin").exists()


def test_a_run_that_another_process_begins_is_left_to_it(tmp_path: Path, text: Path) -> None:
    folder = unfinished(tmp_path / "run")
    with only_writer(folder), pytest.raises(CharlmError, match="is training here"):
        begin_run(folder, Config(), text)
    assert (folder / "corpus/ids.bin").exists()
