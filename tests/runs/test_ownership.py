"""Owning the folder of a run: beginning a run, and what is left if it does not begin."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_runs import ticking
from run_folders import contents, make_run, names

from charlm.config.schema import Config, CorpusConfig
from charlm.errors import Advice, CharlmError
from charlm.events import Event, LeftoverRemoved
from charlm.runs.folder import is_run
from charlm.runs.ownership import RunFolder, own_folder
from charlm.runs.run import open_run
from charlm.storage import is_held, only_writer
from charlm.text.corpus import Corpus, open_corpus
from charlm.text.tokenization import tokenize


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Make a corpus of 20 characters."""
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    return tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())


def begin(path: Path, corpus: Corpus) -> None:
    """Begin a run with the default settings."""
    with own_folder(path) as folder:
        folder.add_text([str(corpus.folder)], CorpusConfig())
        folder.begin(Config(), corpus)


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """Interrupt what is begun before the end of the block, which must not hide that."""
    with contextlib.suppress(KeyboardInterrupt):
        yield


# The folder


def test_nobody_else_can_own_the_folder_meanwhile(tmp_path: Path) -> None:
    with own_folder(tmp_path / "run") as folder:
        assert is_held(folder.path)
        other = own_folder(tmp_path / "run", clock=ticking(1.0))
        with pytest.raises(CharlmError, match="is training here"), other:
            pass
    assert not is_held(folder.path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "is not an empty folder; name another"),
        ("full", "is not an empty folder; name another"),
        ("run", "contains a run; name another folder"),
    ],
)
def test_a_folder_that_is_not_free_is_refused_and_stays(
    name: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full/thesis").mkdir(parents=True)
    make_run(tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(CharlmError, match=f"{name}: {message}"), own_folder(tmp_path / name):
        pass
    assert contents(tmp_path) == before


def test_the_refusal_of_a_run_advises_to_continue_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(CharlmError) as caught, own_folder(run):
        pass
    assert caught.value.advice == Advice("resume", run)


def test_a_run_may_be_owned_to_continue_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with own_folder(run, may_continue=True) as folder:
        assert folder.was_run
    assert is_run(run)


def test_a_folder_without_a_name_is_named_by_the_time_and_the_text() -> None:
    with own_folder(None, text_name="plays") as folder:
        assert re.fullmatch(r"runs/\d{8}-\d{6}-plays", str(folder.path))


def test_a_place_that_cannot_be_written_is_named() -> None:
    Path("runs").symlink_to("missing")
    with (
        pytest.raises(CharlmError, match=r"^runs: cannot be written: File exists"),
        own_folder(None),
    ):
        pass


# What a killed start has left


def leave(path: Path, *files: str) -> None:
    """Leave files as a process that was killed."""
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x" if name.endswith("npy") else b"")


STARTS = {
    "the lock": (".lock",),
    "reading": (".lock", ".12.corpus.tmp/ids.npy"),
    "text": (".lock", "corpus/ids.npy", "corpus/corpus.json"),
    "soft targets": (".lock", "corpus/ids.npy", "soft_targets.bin"),
    "initial weights": (".lock", "corpus/ids.npy", "init.safetensors"),
    "teachers": (".lock", "corpus/ids.npy", "teachers/1/config.yaml", "teachers/1/metrics.jsonl"),
    "all but config.yaml": (".lock", "corpus/ids.npy", "metrics.jsonl", ".12.config.yaml.tmp"),
}


@pytest.mark.parametrize("files", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("may_continue", [False, True])
def test_what_a_killed_start_has_left_is_removed(
    files: tuple[str, ...], may_continue: bool, tmp_path: Path
) -> None:
    leave(tmp_path / "run", *files)
    events: list[Event] = []
    with own_folder(tmp_path / "run", may_continue=may_continue, on_event=events.append) as folder:
        assert names(folder.path) == [".lock"]
        assert not folder.was_run
    assert events == ([] if files == (".lock",) else [LeftoverRemoved(folder.path)])


OTHERS = {
    "no lock": ("corpus/ids.npy",),
    "a file of the user": (".lock", "corpus/ids.npy", "thesis.txt"),
    "a log": (".lock", "corpus/ids.npy", "events.out.tfevents.1"),
    "a log of the loss": (".lock", "corpus/ids.npy", "train/events.out.tfevents.1"),
    "a model": (".lock", "corpus/ids.npy", "last.safetensors"),
    "a checkpoint": (".lock", "checkpoints/step-3.safetensors"),
    "a trained teacher": (".lock", "teachers/1/last.safetensors"),
}


@pytest.mark.parametrize("files", OTHERS.values(), ids=OTHERS)
def test_a_folder_with_anything_else_is_refused_and_stays(
    files: tuple[str, ...], tmp_path: Path
) -> None:
    leave(tmp_path / "run", *files)
    before = contents(tmp_path)
    with (
        pytest.raises(CharlmError, match="is not an empty folder"),
        own_folder(tmp_path / "run", may_continue=True),
    ):
        pass
    assert contents(tmp_path) == before


def test_lines_in_the_log_are_never_removed(tmp_path: Path) -> None:
    leave(tmp_path / "run", ".lock")
    (tmp_path / "run/metrics.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(CharlmError, match="is not an empty folder"), own_folder(tmp_path / "run"):
        pass
    assert (tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8") == "{}\n"


# What is left after an error


TRAINED = (
    "best.safetensors",
    "last.safetensors",
    "checkpoints/step-0.safetensors",
    "teachers/2/last.safetensors",
)
NOT_TRAINED = (
    *("events.out.tfevents.1", "train/events.out.tfevents.1"),
    *("checkpoints/notes", "teachers/2/config.yaml", "soft_targets.bin"),
)


def interrupt_with(path: Path, name: str, corpus: Corpus) -> None:
    """Begin a run, write a file, and interrupt that."""
    with interrupted(), own_folder(path) as folder:
        folder.add_text([str(corpus.folder)], CorpusConfig())
        folder.begin(Config(), corpus)
        leave(path, name)
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", NOT_TRAINED)
def test_a_new_run_that_was_not_trained_is_removed(
    name: str, tmp_path: Path, corpus: Corpus
) -> None:
    interrupt_with(tmp_path / "deep/in/run", name, corpus)
    assert names(tmp_path) == ["corpus", "text.txt"]
    assert len(open_corpus(corpus.folder).ids) == 20  # which the run links to


def test_an_empty_folder_that_was_there_stays(tmp_path: Path, corpus: Corpus) -> None:
    (tmp_path / "empty").mkdir()
    interrupt_with(tmp_path / "empty", "soft_targets.bin", corpus)
    assert names(tmp_path / "empty") == []


@pytest.mark.parametrize("name", TRAINED)
def test_a_new_run_that_was_trained_stays(name: str, tmp_path: Path, corpus: Corpus) -> None:
    interrupt_with(tmp_path / "run", name, corpus)
    assert is_run(tmp_path / "run")
    assert (tmp_path / "run" / name).exists()


def test_a_run_that_had_begun_stays_although_it_was_not_trained(
    tmp_path: Path, corpus: Corpus
) -> None:
    begin(tmp_path / "run", corpus)
    before = contents(tmp_path / "run")
    with interrupted(), own_folder(tmp_path / "run", may_continue=True):
        raise KeyboardInterrupt
    assert contents(tmp_path / "run") == before


def test_nothing_is_left_under_runs_either() -> None:
    with interrupted(), own_folder(None, text_name="plays"):
        raise KeyboardInterrupt
    assert not Path("runs").exists()


# Beginning


def test_config_yaml_is_written_last(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def note(path: Path, _config: Config) -> None:
        """Note what is in the folder when the config is written."""
        written.extend(names(path))

    monkeypatch.setattr("charlm.runs.ownership.write_config", note)
    with own_folder(tmp_path / "run") as folder:
        folder.add_text([str(corpus.folder)], CorpusConfig())
        folder.begin(Config(), corpus, teachers={})
    assert written == [".lock", "corpus", "metrics.jsonl"]


def test_a_teacher_begins_with_its_run_and_links_to_its_text(
    tmp_path: Path, corpus: Corpus
) -> None:
    with own_folder(tmp_path / "run") as folder:
        folder.add_text([str(tmp_path / "text.txt")], CorpusConfig())
        folder.begin(Config(), corpus, teachers={7: Config(seed=7)})
    (tmp_path / "run").rename(tmp_path / "moved")
    teacher = open_run(tmp_path / "moved/teachers/7")
    assert teacher.config.seed == 7
    assert len(teacher.corpus.ids) == 20


def test_a_corpus_elsewhere_is_linked_by_its_whole_path(tmp_path: Path, corpus: Corpus) -> None:
    begin(tmp_path / "run", corpus)
    assert (tmp_path / "run/corpus").readlink() == corpus.folder.resolve()


def test_a_corpus_of_a_search_is_linked_so_that_the_search_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    search = tmp_path / "search"
    search.mkdir()
    with only_writer(search):
        corpus = tokenize([str(tmp_path / "text.txt")], search / "corpus", CorpusConfig())
        begin(search / "trial-0000", corpus)
    search.rename(tmp_path / "moved")
    assert len(open_run(tmp_path / "moved/trial-0000").corpus.ids) == 20


def test_a_folder_has_results_as_soon_as_a_teacher_has_some(tmp_path: Path) -> None:
    assert not RunFolder(tmp_path).has_results()
    leave(tmp_path, "teachers/1/checkpoints/step-9.safetensors")
    assert RunFolder(tmp_path).has_results()
