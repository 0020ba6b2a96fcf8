"""Which folders are runs, and which run or model a name means."""

import os
import re
import time
from pathlib import Path

import pytest

from charlm.errors import CharlmError
from charlm.events import Event, Note
from charlm.runs import folder
from charlm.runs.folder import find_model, find_run
from charlm.storage import is_run, only_writer

RUNS = Path("runs")


def make_run(folder: Path, *models: str, written_at: int = 0) -> Path:
    """Make the files of a run folder that these functions look at."""
    for name in ("config.yaml", "metrics.jsonl", *(f"{model}.safetensors" for model in models)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (written_at, written_at))
    return folder


def test_a_new_folder_has_a_name_of_its_own_with_the_time_of_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "strftime", lambda _format: "20010203-120000")
    for name in ("20010203-120000-plays", "20010203-120000-plays-2", "20010203-120000-plays-3"):
        assert folder.make_folder("plays") == RUNS / name
        assert (RUNS / name).is_dir()


# All runs


@pytest.fixture
def three_runs() -> None:
    """Make the runs b, c and a, from the oldest, next to a folder and a dead link."""
    for age, name in enumerate("bca"):
        make_run(RUNS / name, "best", written_at=age)
    (RUNS / "not-a-run").mkdir()
    (RUNS / "broken").symlink_to("x" * 300)  # longer than a file name may be


def test_a_missing_folder_has_no_runs() -> None:
    with pytest.raises(CharlmError, match=r"^runs/: no run here"):
        find_run(None)


@pytest.mark.parametrize("missing", ["config.yaml", "metrics.jsonl"])
def test_a_folder_without_a_file_of_a_run_is_not_a_run(missing: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert is_run(run)
    (run / missing).unlink()
    assert not is_run(run)


@pytest.mark.usefixtures("three_runs")
@pytest.mark.parametrize(("ended", "newest"), [("", "a"), ("a", "c"), ("ac", "b"), ("acb", "a")])
def test_a_resume_prefers_the_newest_run_that_has_not_ended(ended: str, newest: str) -> None:
    for name in ended:
        (RUNS / name / "ended.json").touch()
    assert folder.newest_unfinished_run() == RUNS / newest


@pytest.mark.usefixtures("three_runs")
def test_a_resume_ignores_a_run_that_another_process_trains() -> None:
    with only_writer(RUNS / "a"):
        assert folder.newest_unfinished_run() == RUNS / "c"


def test_a_resume_is_refused_if_every_run_is_in_use() -> None:
    run = make_run(RUNS / "a")
    make_run(RUNS / "b").joinpath("ended.json").touch()
    message = "runs/a: another process is training this run, and no other run is unfinished"
    with only_writer(run), pytest.raises(CharlmError, match=message):
        folder.newest_unfinished_run()


# A run by its name


NAMES = ("20010203-120000-plays", "20010203-120001-plays-2", "20010204-120000-letters", "letters")


@pytest.fixture
def named_runs() -> None:
    """Make runs next to a folder that is not a run."""
    for age, name in enumerate(NAMES):
        os.utime(make_run(RUNS / name) / "metrics.jsonl", (-age, -age))
    (RUNS / "notes").mkdir()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        pytest.param("0204", NAMES[2], id="a part of a name"),
        pytest.param("plays-2", NAMES[1], id="the end of a name"),
        pytest.param("letters", NAMES[3], id="a whole name that is a part of another"),
        pytest.param("plays", NAMES[0], id="a part of several names"),
        pytest.param("20010203", NAMES[0], id="a part of the names of older runs"),
    ],
)
@pytest.mark.usefixtures("named_runs")
def test_a_part_of_a_name_means_the_newest_run_with_it(part: str, name: str) -> None:
    assert find_run(Path(part)) == RUNS / name


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("plaies", rf"^plaies: no such folder, .*; did you mean {NAMES[0][16:]}\?$"),
        (
            "qqqq",
            r"^qqqq: no such folder, and no run has this in its name; "
            r"charlm runs lists the runs under .*/$",
        ),
    ],
)
@pytest.mark.usefixtures("named_runs")
def test_a_name_of_no_run_is_refused(part: str, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        find_run(Path(part))


# Models


@pytest.mark.usefixtures("three_runs")
def test_without_a_name_the_newest_run_has_the_model() -> None:
    events: list[Event] = []
    assert find_model(None, on_event=events.append) == RUNS / "a/best.safetensors"
    assert events == [Note("using the newest run, runs/a")]


def test_a_run_is_found_by_the_name_of_the_folder_of_its_texts() -> None:
    Path("texts").mkdir()
    make_run(RUNS / "20010203-120000-texts", "best")
    expected = RUNS / "20010203-120000-texts/best.safetensors"
    assert find_model(Path("texts")) == expected


@pytest.mark.parametrize("folder", ["river-plays", "runs/river-plays"])
def test_a_run_is_found_before_a_shipped_model(folder: str) -> None:
    make_run(Path(folder), "best")
    assert find_model(Path("river-plays")) == Path(folder, "best.safetensors")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make a run with its last model alone."""
    return make_run(tmp_path / "run", "last")


def test_the_last_model_of_a_run_without_a_best_one_is_reported(run: Path) -> None:
    events: list[Event] = []
    assert find_model(run, on_event=events.append) == run / "last.safetensors"
    assert events == [Note(f"{run}: no best model yet; using the model of the last step")]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("run", "no model in this run yet: wait for its first evaluation"),
        (".", "neither a run nor a model file"),
        ("nowhere", "no such folder, and no run has this in its name"),
        ("my text.txt", "not a model file (*.safetensors)"),
    ],
)
def test_a_path_without_a_model_is_refused(name: str, problem: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    make_run(RUNS / "other")
    (tmp_path / "my text.txt").touch()
    with pytest.raises(CharlmError, match=re.escape(f"{tmp_path / name}: {problem}")):
        find_model(tmp_path / name)


# The run of a model


@pytest.mark.parametrize("model", ["best", "last", "checkpoints/step-10"])
def test_a_model_of_a_run_has_the_name_of_the_run(model: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", model)
    path = run / f"{model}.safetensors"
    assert folder.model_name(path) == "run"
    assert folder.run_of(path) == run


def test_a_model_of_a_link_to_a_run_has_the_name_of_the_link(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "best")
    (tmp_path / "current").symlink_to("run")
    assert folder.model_name(tmp_path / "current/best.safetensors") == "current"


def test_a_model_elsewhere_has_the_name_of_its_file(tmp_path: Path) -> None:
    assert folder.model_name(tmp_path / "mine.safetensors") == "mine"
    assert folder.run_of(tmp_path / "mine.safetensors") is None
