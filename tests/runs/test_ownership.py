"""Owning the folder of a run: beginning a run, and the files that an interrupted start leaves."""

import contextlib
import re
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


def begin(folder: RunFolder, corpus: Corpus) -> None:
    """Begin a run with the default settings."""
    folder.add_text([str(corpus.folder)], CorpusConfig())
    folder.begin(Config(), corpus)


# The folder


def test_only_one_owner_can_have_a_folder(tmp_path: Path) -> None:
    with own_folder(tmp_path / "run") as folder:
        assert is_held(folder.path)
        other = own_folder(tmp_path / "run", clock=ticking(1.0))
        with pytest.raises(CharlmError, match="is training here"), other:
            pass
    assert not is_held(folder.path)


def check_refused(path: Path, message: str, *, may_continue: bool = False) -> None:
    """Check that a folder is refused, and that its files stay as they were."""
    before = contents(path.parent)
    owned = own_folder(path, may_continue=may_continue)
    with pytest.raises(CharlmError, match=f"{path.name}: {message}"), owned:
        pass
    assert contents(path.parent) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "not an empty folder; choose another"),
        ("full", "not an empty folder; choose another"),
        ("run", "contains a run; choose another folder"),
    ],
)
def test_a_folder_that_is_not_empty_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full/thesis").mkdir(parents=True)
    make_run(tmp_path / "run")
    check_refused(tmp_path / name, message)


def test_the_refusal_of_a_run_advises_to_resume_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(CharlmError) as caught, own_folder(run):
        pass
    assert caught.value.advice == Advice("resume", run)


def test_a_run_can_be_owned_to_continue_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with own_folder(run, may_continue=True) as folder:
        assert folder.was_run
    assert is_run(run)


def test_a_folder_without_a_name_is_named_by_its_time_with_its_text() -> None:
    with own_folder(None, text_name="plays") as folder:
        assert re.fullmatch(r"runs/\d{8}-\d{6}-plays", str(folder.path))


def test_a_folder_that_cannot_be_made_is_named() -> None:
    Path("runs").symlink_to("missing")
    message = r"^runs: cannot be written: File exists"
    with pytest.raises(CharlmError, match=message), own_folder(None):
        pass


# The files of a start that was killed


def leave(path: Path, *files: str) -> None:
    """Write files as a process that was killed leaves them."""
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x" if name.endswith("npy") else b"")


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(".12.corpus.tmp/ids.npy", id="reading"),
        pytest.param("corpus/ids.npy corpus/corpus.json", id="text"),
        pytest.param("corpus/ids.npy soft_targets.bin", id="soft targets"),
        pytest.param("corpus/ids.npy init.safetensors", id="initial weights"),
        pytest.param("teachers/1/config.yaml teachers/1/metrics.jsonl", id="teachers"),
        pytest.param("metrics.jsonl .12.config.yaml.tmp", id="all but config.yaml"),
    ],
)
@pytest.mark.parametrize("may_continue", [False, True])
def test_the_files_of_a_killed_start_are_removed(
    files: str,
    may_continue: bool,
    tmp_path: Path,
) -> None:
    leave(tmp_path / "run", ".lock", *files.split())
    events: list[Event] = []
    with own_folder(tmp_path / "run", may_continue=may_continue, on_event=events.append) as folder:
        assert names(folder.path) == [".lock"]
        assert not folder.was_run
    assert events == [LeftoverRemoved(tmp_path / "run")]


def test_a_lock_alone_is_not_reported(tmp_path: Path) -> None:
    leave(tmp_path / "run", ".lock")
    events: list[Event] = []
    with own_folder(tmp_path / "run", on_event=events.append) as folder:
        assert names(folder.path) == [".lock"]
    assert events == []


@pytest.mark.parametrize(
    "files",
    [
        pytest.param("corpus/ids.npy", id="no lock"),
        pytest.param(".lock corpus/ids.npy thesis.txt", id="a file of the user"),
        pytest.param(".lock corpus/ids.npy events.out.tfevents.1", id="a log"),
        pytest.param(".lock corpus/ids.npy train/events.out.tfevents.1", id="a log of the loss"),
        pytest.param(".lock corpus/ids.npy last.safetensors", id="a model"),
        pytest.param(".lock checkpoints/step-3.safetensors", id="a checkpoint"),
        pytest.param(".lock teachers/1/last.safetensors", id="a trained teacher"),
    ],
)
def test_a_folder_with_any_other_file_is_refused(files: str, tmp_path: Path) -> None:
    leave(tmp_path / "run", *files.split())
    check_refused(tmp_path / "run", "not an empty folder", may_continue=True)


def test_a_folder_with_lines_in_its_log_is_refused(tmp_path: Path) -> None:
    leave(tmp_path / "run", ".lock")
    (tmp_path / "run/metrics.jsonl").write_text("{}\n", encoding="utf-8")
    check_refused(tmp_path / "run", "not an empty folder")


# The files of a start that was interrupted


def interrupt_start(path: Path, name: str, corpus: Corpus) -> None:
    """Begin a run, write a file of it, and interrupt that."""
    with contextlib.suppress(KeyboardInterrupt), own_folder(path) as folder:
        begin(folder, corpus)
        leave(path, name)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "name",
    [
        "events.out.tfevents.1",
        "train/events.out.tfevents.1",
        "checkpoints/notes",
        "teachers/2/config.yaml",
        "soft_targets.bin",
    ],
)
def test_a_new_run_that_was_not_trained_is_removed(
    name: str,
    tmp_path: Path,
    corpus: Corpus,
) -> None:
    """The corpus that it links to stays."""
    interrupt_start(tmp_path / "deep/in/run", name, corpus)
    assert names(tmp_path) == ["corpus", "text.txt"]
    assert len(open_corpus(corpus.folder).ids) == 20


def test_an_empty_folder_is_emptied_again(tmp_path: Path, corpus: Corpus) -> None:
    (tmp_path / "empty").mkdir()
    interrupt_start(tmp_path / "empty", "soft_targets.bin", corpus)
    assert names(tmp_path / "empty") == []


@pytest.mark.parametrize(
    "name",
    [
        "best.safetensors",
        "last.safetensors",
        "checkpoints/step-0.safetensors",
        "teachers/2/last.safetensors",
    ],
)
def test_a_new_run_that_was_trained_stays(name: str, tmp_path: Path, corpus: Corpus) -> None:
    interrupt_start(tmp_path / "run", name, corpus)
    assert is_run(tmp_path / "run")
    assert (tmp_path / "run" / name).exists()


def test_an_earlier_run_stays_although_it_was_not_trained(tmp_path: Path, corpus: Corpus) -> None:
    with own_folder(tmp_path / "run") as folder:
        begin(folder, corpus)
    before = contents(tmp_path / "run")
    with contextlib.suppress(KeyboardInterrupt), own_folder(tmp_path / "run", may_continue=True):
        raise KeyboardInterrupt
    assert contents(tmp_path / "run") == before


def test_an_interrupted_start_leaves_no_folder_of_runs() -> None:
    with contextlib.suppress(KeyboardInterrupt), own_folder(None):
        raise KeyboardInterrupt
    assert not Path("runs").exists()


# Beginning


def test_config_yaml_is_written_last(tmp_path: Path, corpus: Corpus) -> None:
    """A folder with its name makes that fail."""
    with own_folder(tmp_path / "run") as folder:
        (folder.path / "config.yaml").mkdir()
        with pytest.raises(CharlmError, match=r"run/config\.yaml: not a regular file"):
            begin(folder, corpus)
        assert names(folder.path) == [".lock", "config.yaml", "corpus", "metrics.jsonl"]


def test_a_teacher_links_to_the_text_of_its_run(tmp_path: Path, corpus: Corpus) -> None:
    with own_folder(tmp_path / "run") as folder:
        folder.add_text([str(tmp_path / "text.txt")], CorpusConfig())
        folder.begin(Config(), corpus, teachers={7: Config(seed=7)})
    (tmp_path / "run").rename(tmp_path / "moved")
    teacher = open_run(tmp_path / "moved/teachers/7")
    assert teacher.config.seed == 7
    assert len(teacher.corpus.ids) == 20


def test_a_search_with_a_corpus_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    search = tmp_path / "search"
    search.mkdir()
    with only_writer(search):
        corpus = tokenize([str(tmp_path / "text.txt")], search / "corpus", CorpusConfig())
        with own_folder(search / "trial-0000") as folder:
            begin(folder, corpus)
    search.rename(tmp_path / "moved")
    assert len(open_run(tmp_path / "moved/trial-0000").corpus.ids) == 20


def test_a_folder_has_results_as_soon_as_a_teacher_has_some(tmp_path: Path) -> None:
    assert not RunFolder(tmp_path).has_results()
    leave(tmp_path, "teachers/1/checkpoints/step-9.safetensors")
    assert RunFolder(tmp_path).has_results()
