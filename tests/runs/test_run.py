"""Beginning a run, and opening it again."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from charlm.config.file import load_config
from charlm.config.schema import Config, CorpusConfig
from charlm.errors import CharlmError
from charlm.hardware import core_count
from charlm.network.bundle import Bundle, read_bundle
from charlm.runs.folder import is_run
from charlm.runs.run import (
    Run,
    begin_run,
    corpus_identity,
    default_parts,
    discard_run,
    open_run,
    run_corpus,
    settle_parts,
)
from charlm.storage.locks import only_writer
from charlm.text.corpus import Corpus, open_corpus
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
    assert run.config.training.parts == min(core_count(), 8)  # the batch has 64 rows
    assert open_run(tmp_path / "run").config == run.config


def test_parts_of_a_batch_that_are_set_are_kept() -> None:
    config = Config.model_validate({"training": {"epochs": 1, "parts": core_count() + 1}})
    assert settle_parts(config) == config


@pytest.mark.parametrize(
    ("rows", "cores", "parts"), [(64, 2, 2), (64, 8, 8), (64, 16, 8), (32, 4, 4), (20, 4, 2), (8, 2, 1), (3, 4, 1)]
)
def test_no_core_gets_fewer_than_eight_rows_while_another_has_some(rows: int, cores: int, parts: int) -> None:
    assert default_parts(rows, cores=cores) == parts


def test_new_run_links_to_an_existing_corpus(tmp_path: Path, text: Path) -> None:
    tokenize([str(text)], tmp_path / "corpus", CorpusConfig())
    begin_run(tmp_path / "run", Config(), tmp_path / "corpus")
    assert (tmp_path / "run" / "corpus").readlink() == (tmp_path / "corpus").resolve()


def test_config_of_a_run_on_an_existing_corpus_has_the_settings_of_that_corpus(tmp_path: Path, text: Path) -> None:
    made = CorpusConfig(level="byte", validation_fraction=0.25)
    tokenize([str(text)], tmp_path / "corpus", made)
    run = begin_run(tmp_path / "run", Config(), tmp_path / "corpus")
    assert load_config(tmp_path / "run/config.yaml").corpus == run.config.corpus == made


def test_run_on_an_existing_corpus_refuses_another_setting_of_it(tmp_path: Path, text: Path) -> None:
    tokenize([str(text)], tmp_path / "corpus", CorpusConfig())
    with pytest.raises(CharlmError, match=r"corpus\.level: found 'byte', but .*corpus was made with 'char'"):
        begin_run(tmp_path / "run", Config(corpus=CorpusConfig(level="byte")), tmp_path / "corpus")
    assert not (tmp_path / "run").exists()


def test_run_can_be_opened_with_other_settings(tmp_path: Path, text: Path) -> None:
    begin_run(tmp_path / "run", Config(seed=5), text)
    run = open_run(tmp_path / "run", overrides=["training.epochs=3"])
    assert (run.config.seed, run.config.training.epochs) == (5, 3)
    assert len(run.corpus.ids) == 20


def test_folder_that_is_not_a_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="not a run"):
        open_run(tmp_path)


def test_setting_that_must_stay_is_refused_before_the_corpus_is_read(tmp_path: Path, text: Path) -> None:
    begin_run(tmp_path / "run", Config(), text)
    (tmp_path / "run/corpus/ids.bin").unlink()
    with pytest.raises(CharlmError, match=r"^model\.units: found 9; must be 512, as at the start of the run"):
        open_run(tmp_path / "run", overrides=["model.units=9"])


@pytest.mark.parametrize("name", ["config.yaml", "vocabulary.json", "metrics.jsonl", ".lock"])
def test_run_with_a_link_is_not_opened(name: str, tmp_path: Path, text: Path) -> None:
    begin_run(tmp_path / "run", Config(), text)
    (tmp_path / "run" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CharlmError, match=f"run/{name}: is a link; must be the file or folder itself"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["metrics.jsonl", "vocabulary.json", "corpus", ".config.yaml.1.tmp"])
def test_link_in_an_unfinished_run_is_removed_and_what_it_leads_to_stays(name: str, tmp_path: Path, text: Path) -> None:
    folder = unfinished(tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / ("mine" if name == "corpus" else "mine/thesis.txt"))
    begin_run(folder, Config(), text)
    assert (tmp_path / "mine/thesis.txt").read_text() == "mine"
    assert names(tmp_path / "mine") == ["thesis.txt"]
    assert not path.is_symlink()


def test_lock_that_is_a_link_is_refused_when_a_run_begins(tmp_path: Path, text: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").symlink_to(text)
    before = text.read_bytes()
    with pytest.raises(CharlmError, match=r"run/\.lock: is a link"):
        begin_run(tmp_path / "run", Config(), text)
    assert text.read_bytes() == before


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


def test_text_that_cannot_be_looked_up_is_named_and_not_the_run(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"^x+: cannot be read: File name too long$"):
        begin_run(tmp_path / "run", Config(), "x" * 300)
    assert list(tmp_path.iterdir()) == []


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


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_run_that_another_process_began_after_the_first_check_stays(tmp_path: Path, text: Path) -> None:
    folder = tmp_path / "run"
    (tmp_path / "late.txt").write_text("late\n" * 4, encoding="utf-8")

    begun: list[Run] = []

    def begin_elsewhere(folder: Path) -> contextlib.AbstractContextManager[None]:
        if not begun:
            begun.append(begin_run(folder, Config(seed=5), text))
        return only_writer(folder)

    with pytest.raises(CharlmError, match="run: holds a run; continue it with --resume"):
        begin_run(folder, Config(), tmp_path / "late.txt", hold_lock=begin_elsewhere)
    assert open_run(folder).config == begun[0].config


def test_file_that_appears_after_the_first_check_stays_and_the_folder_is_refused(tmp_path: Path, text: Path) -> None:
    folder = tmp_path / "run"

    def add_a_file(folder: Path) -> contextlib.AbstractContextManager[None]:
        (folder / "corpus").write_text("mine")
        return only_writer(folder)

    with pytest.raises(CharlmError, match="run: is not empty"):
        begin_run(folder, Config(), text, hold_lock=add_a_file)
    assert (folder / "corpus").read_text() == "mine"


# Discarding a run


@pytest.mark.parametrize("existed", [True, False])
def test_run_that_was_not_trained_is_discarded(tmp_path: Path, text: Path, existed: bool) -> None:
    folder = tmp_path / "run"
    if existed:
        folder.mkdir()
    run = begin_run(folder, Config(), text)
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard/events.out.tfevents.1").touch()
    (folder / "checkpoints").mkdir()
    discard_run(run)
    assert folder.exists() == existed
    assert names(tmp_path) == ["run", "text.txt"][not existed :]


def test_corpus_that_a_discarded_run_links_to_stays(tmp_path: Path, text: Path) -> None:
    corpus = tokenize([str(text)], tmp_path / "corpus", CorpusConfig())
    discard_run(begin_run(tmp_path / "run", Config(), corpus.folder))
    assert names(tmp_path) == ["corpus", "text.txt"]
    assert len(open_corpus(corpus.folder).ids) == 20


@pytest.mark.parametrize("name", ["best", "last", "checkpoints/step-000000000"])
def test_run_that_was_trained_is_not_discarded(name: str, tmp_path: Path, text: Path) -> None:
    run = begin_run(tmp_path / "run", Config(), text)
    (run.folder / name).mkdir(parents=True)
    discard_run(run)
    assert open_run(run.folder).config == run.config


def test_run_that_another_process_trains_is_not_discarded(tmp_path: Path, text: Path) -> None:
    run = begin_run(tmp_path / "run", Config(), text)
    with only_writer(run.folder):
        discard_run(run)
    assert is_run(run.folder)


def test_other_files_of_a_discarded_run_stay(tmp_path: Path, text: Path) -> None:
    run = begin_run(tmp_path / "run", Config(), text)
    (run.folder / "tensorboard").mkdir()
    for name in ("thesis.txt", "tensorboard/notes.txt"):
        (run.folder / name).write_text("mine")
    discard_run(run)
    assert names(run.folder) == ["tensorboard", "thesis.txt"]
    assert names(run.folder / "tensorboard") == ["notes.txt"]


def test_run_with_a_link_is_not_discarded(tmp_path: Path, text: Path) -> None:
    run = begin_run(tmp_path / "run", Config(), text)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/events.out.tfevents.1").touch()
    (run.folder / "tensorboard").symlink_to(tmp_path / "elsewhere")
    discard_run(run)
    assert names(tmp_path / "elsewhere") == ["events.out.tfevents.1"]


# The text that a bundle was trained on


def test_ids_that_are_not_those_of_the_manifest_are_refused(tmp_path: Path, text: Path) -> None:
    run = begin_run(tmp_path / "run", Config(), text)
    ids = run.folder / "corpus/ids.bin"
    ids.write_bytes(ids.read_bytes()[::-1])
    with pytest.raises(CharlmError, match=r"ids\.bin: damaged: its SHA-256 is not the one in manifest\.json"):
        open_run(run.folder)
    with pytest.raises(CharlmError, match=r"ids\.bin: damaged"):
        begin_run(tmp_path / "other", Config(), run.folder / "corpus")
    assert not (tmp_path / "other").exists()


def with_corpus(bundle: Bundle, corpus: Corpus) -> Bundle:
    """Return a bundle that was trained on a corpus."""
    facts = {**bundle.facts, "corpus": corpus_identity(corpus)}
    return replace(bundle, vocabulary=corpus.vocabulary, facts=facts)


def test_other_text_or_split_with_the_same_vocabulary_than_that_of_the_bundle_is_refused(
    tmp_path: Path, text: Path, bundle: Bundle
) -> None:
    run = begin_run(tmp_path / "run", Config(), text)
    trained = with_corpus(bundle, run.corpus)
    found = run_corpus(run.folder / "best", trained)
    assert found is not None
    assert found.manifest == run.corpus.manifest
    for other, fraction in (("dcba\n" * 4, 0.1), ("abcd\n" * 4, 0.5)):
        text.write_text(other, encoding="utf-8")
        shutil.rmtree(run.folder / "corpus")
        tokenize([str(text)], run.folder / "corpus", CorpusConfig(validation_fraction=fraction))
        with pytest.raises(CharlmError, match="run/corpus: not the corpus that the run was trained on"):
            run_corpus(run.folder / "best", trained)


def test_bundle_of_an_earlier_version_has_no_text_and_takes_that_of_its_run(
    tmp_path: Path, text: Path, bundle: Bundle
) -> None:
    run = begin_run(tmp_path / "run", Config(), text)
    old = replace(bundle, vocabulary=run.corpus.vocabulary)
    assert run_corpus(run.folder / "best", old) is not None


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
