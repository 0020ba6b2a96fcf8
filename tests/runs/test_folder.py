"""Which folders are runs, and which run or model is found."""

import os
import time
from pathlib import Path

import pytest

from charlm.config.recipes import shipped_models
from charlm.errors import CharlmError
from charlm.events import Event, LastModelTaken, NewestRunTaken
from charlm.runs import folder
from charlm.runs.folder import find_model, find_run, find_runs, is_run, results
from charlm.storage import only_writer


def make_run(folder: Path, *models: str, written_at: int = 0) -> Path:
    """Make the files of a run folder that these functions look at."""
    for name in ("config.yaml", "metrics.jsonl", *(f"{model}.safetensors" for model in models)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
        os.utime(folder / name, (written_at, written_at))
    return folder


def test_a_new_folder_is_named_by_the_time_and_the_text_and_belongs_to_one_run(
    tmp_path: Path,
) -> None:
    noon, runs = time.struct_time((2001, 2, 3, 12, 0, 0, 5, 34, 0)), tmp_path / "deep/runs"
    for name in ("20010203-120000-plays", "20010203-120000-plays-2", "20010203-120000-plays-3"):
        assert folder.make_folder("plays", under=runs, now=lambda: noon) == runs / name
        assert (runs / name).is_dir()


def test_the_newest_run_is_the_one_with_the_last_written_metrics_and_a_resume_prefers_one_that_goes_on() -> (
    None
):
    runs = Path("runs")
    events: list[Event] = []
    for place in ("nowhere", "runs"):
        with pytest.raises(CharlmError, match=f"^{place}/: no run here"):
            find_run(None, under=Path(place))
        runs.mkdir(exist_ok=True)
        (runs / "not-a-run").mkdir(exist_ok=True)
    (runs / "broken").symlink_to("x" * 300)  # longer than a file name may be
    for name, age in (("b", 1), ("a", 3), ("c", 2)):
        make_run(runs / name, "best", written_at=age)
    assert find_runs() == [runs / name for name in "abc"]
    assert find_run(None) == folder.newest_unfinished_run() == runs / "a"
    assert (
        find_model(None, on_event=events.append) == find_model(None) == runs / "a/best.safetensors"
    )
    assert events == [NewestRunTaken(runs / "a")]
    for ended, newest in (("a", "c"), ("c", "b"), ("b", "a")):
        (runs / ended / "ended.json").touch()
        assert folder.newest_unfinished_run() == runs / newest
    for name, missing in (("a", "config.yaml"), ("c", "metrics.jsonl")):
        (runs / name / missing).unlink()
        assert not is_run(runs / name)


NAMES = ("20010203-120000-plays", "20010203-120001-plays-2", "20010204-120000-letters", "letters")


def test_a_part_of_a_name_means_the_only_run_that_has_it_or_the_one_with_that_name(
    tmp_path: Path,
) -> None:
    for name in NAMES:
        make_run(tmp_path / name)
    (tmp_path / "tune-space").mkdir()
    for part, name in (("0204", NAMES[2]), ("plays-2", NAMES[1]), ("letters", NAMES[3])):
        assert find_run(Path(part), under=tmp_path) == tmp_path / name
    for part, message in (
        ("plays", f"^plays: a part of the names of several runs: {NAMES[0]}, {NAMES[1]}; "),
        ("plaies", rf"^plaies: no such folder, .*; did you mean {NAMES[0]}\?$"),
        ("qqqq", "^qqqq: no such folder, and no run has this in its name$"),
    ):
        with pytest.raises(CharlmError, match=message):
            find_run(Path(part), under=tmp_path)


def test_a_resume_prefers_a_run_that_no_other_process_trains() -> None:
    for name, age in (("b", 1), ("a", 3)):
        make_run(Path("runs") / name, "best", written_at=age)
    with only_writer(Path("runs/a")):
        assert folder.newest_unfinished_run() == Path("runs/b")


def test_a_resume_is_refused_if_every_run_is_in_use() -> None:
    run = make_run(Path("runs/a"), "best")
    with (
        only_writer(run),
        pytest.raises(CharlmError, match="every run here is in use by another process"),
    ):
        folder.newest_unfinished_run()


# Models


def test_the_name_of_a_model_that_comes_with_charlm_means_it_unless_a_run_has_the_name() -> None:
    assert find_model(Path("river-plays")) == shipped_models()["river-plays"]
    make_run(Path("runs/new"), "best")
    assert find_model(Path("river-plays")) == shipped_models()["river-plays"]
    here = make_run(Path("river-plays"), "best")
    assert find_model(here) == here / "best.safetensors"
    here.rename("runs/river-plays")
    assert find_model(Path("river-plays")) == Path("runs/river-plays/best.safetensors")


def test_a_run_means_its_best_model_or_else_its_last_with_a_line_or_what_would_do_is_said(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", "last")
    events: list[Event] = []
    assert find_model(run, on_event=events.append) == find_model(run) == run / "last.safetensors"
    assert events == [LastModelTaken(run)]
    (run / "best.safetensors").touch()
    assert find_model(run, on_event=events.append) == run / "best.safetensors"
    assert find_model(run / "last.safetensors") == run / "last.safetensors"
    assert len(events) == 1
    make_run(tmp_path / "new")
    (tmp_path / "my text.txt").touch()
    for name, message in (
        ("new", r"new: no model in this run yet: wait for its first evaluation$"),
        ("", f"^{tmp_path}: neither a run nor a model file"),
        ("nowhere", "nowhere: no such file or folder; must be a run or a model file"),
        ("my text.txt", r"my text\.txt: not a model file"),
    ):
        with pytest.raises(CharlmError, match=message):
            find_model(tmp_path / name)


def test_models_and_checkpoints_are_results_called_like_their_run_and_a_log_is_none(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", "best", "last", "checkpoints/step-5", "checkpoints/step-10")
    (run / "checkpoints/notes").touch()
    found = results(run)
    kept = ("checkpoints/step-10.safetensors", "checkpoints/step-5.safetensors")
    assert found == ["best.safetensors", "last.safetensors", *kept]
    for name in found:
        assert (folder.model_name(run / name), folder.run_of(run / name)) == ("run", run)
    assert folder.model_name(tmp_path / "mine.safetensors") == "mine"
    assert folder.run_of(tmp_path / "mine.safetensors") is None
    (make_run(tmp_path / "other") / "checkpoints").touch()
    with pytest.raises(NotADirectoryError):
        results(tmp_path / "other")
