"""Which folders are runs, and which run or model is found."""

import os
import shlex
import time
from pathlib import Path

import pytest

from charlm.config.recipes import shipped_models
from charlm.errors import CharlmError
from charlm.runs import folder
from charlm.runs.folder import find_model, find_run, find_runs, is_run, results


def make_run(folder: Path, *, written_at: int = 0, models: tuple[str, ...] = ()) -> Path:
    """Make the files of a run folder that these functions look at."""
    folder.mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl"):
        (folder / name).touch()
        os.utime(folder / name, (written_at, written_at))
    for name in models:
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("name", "argument"),
    [("runs/a", "runs/a"), ("-dash", "./-dash"), ("a b", "'a b'"), ("-a 'b'", "'./-a '\"'\"'b'\"'\"''")],
)
def test_path_in_an_advice_is_one_argument_and_not_an_option(name: str, argument: str) -> None:
    assert folder.as_argument(Path(name)) == argument
    assert [str(Path(part)) for part in shlex.split(argument)] == [name]


def noon() -> time.struct_time:
    """Return 12:00 on 3 February 2001."""
    return time.struct_time((2001, 2, 3, 12, 0, 0, 5, 34, 0))


def test_a_new_folder_is_named_by_the_time_and_the_text_and_belongs_to_one_run(tmp_path: Path) -> None:
    for name in ("20010203-120000-plays", "20010203-120000-plays-2", "20010203-120000-plays-3"):
        assert folder.make_folder("plays", under=tmp_path / "runs", now=noon) == tmp_path / "runs" / name
        assert (tmp_path / "runs" / name).is_dir()


def test_the_newest_run_is_the_one_with_the_last_written_metrics_and_it_has_a_config(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="no run here; name one, or train one with: charlm train"):
        find_run(None, under=tmp_path / "nowhere")
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "broken").symlink_to("x" * 300)  # longer than a file name may be
    with pytest.raises(CharlmError, match="no run here; name one, or train one with: charlm train"):
        find_run(None, under=tmp_path)
    runs = [make_run(tmp_path / name, written_at=age) for name, age in (("b", 1), ("a", 3), ("c", 2))]
    assert {*find_runs(tmp_path)} == {*runs}
    assert find_run(None, under=tmp_path) == tmp_path / "a"
    for run, missing in ((runs[1], "config.yaml"), (runs[2], "metrics.jsonl")):
        assert is_run(run)
        (run / missing).unlink()
        assert not is_run(run)


NAMES = ("20010203-120000-plays", "20010203-120001-plays-2", "20010204-120000-letters", "letters")


def test_a_part_of_a_name_means_the_only_run_that_has_it_or_the_one_with_that_name(tmp_path: Path) -> None:
    for name in NAMES:
        make_run(tmp_path / name)
    (tmp_path / "tune-space").mkdir()
    for part, name in (("0204", NAMES[2]), ("plays-2", NAMES[1]), ("letters", NAMES[3])):
        assert find_run(Path(part), under=tmp_path) == tmp_path / name
    for part, message in (
        ("plays", f"^plays: a part of the names of several runs: {NAMES[0]}, {NAMES[1]}; "),
        ("plaies", rf"^plaies: no such folder, .*; did you mean {NAMES[0]}\?$"),
        ("qqqq", r"^qqqq: no such folder, .*; charlm runs lists those under "),
    ):
        with pytest.raises(CharlmError, match=message):
            find_run(Path(part), under=tmp_path)


def test_the_name_of_a_model_that_comes_with_charlm_means_it_unless_a_run_has_the_name() -> None:
    assert find_model(Path("river-plays")) == shipped_models()["river-plays"]
    make_run(Path("runs/new"), models=("best",))
    assert find_model(Path("river-plays")) == shipped_models()["river-plays"]
    here = make_run(Path("river-plays"), models=("best",))
    assert find_model(here) == here / "best.safetensors"
    here.rename("runs/river-plays")
    assert find_model(Path("river-plays")) == Path("runs/river-plays/best.safetensors")


def test_a_run_that_was_interrupted_before_its_first_evaluation_is_taken_from_last_with_a_line(tmp_path: Path) -> None:
    run, said = make_run(tmp_path / "run", models=("last",)), list[str]()
    assert find_model(run, say=said.append) == run / "last.safetensors"
    said_of_last = "no best.safetensors in this run yet; this is last.safetensors, the model of its last step"
    assert said == [f"{run}: {said_of_last}"]
    both = make_run(tmp_path / "both", models=("best", "last"))
    assert find_model(both, say=said.append) == both / "best.safetensors"
    assert len(said) == 1


def test_without_a_name_the_newest_run_is_meant() -> None:
    make_run(Path("runs/old"), written_at=1, models=("best",))
    make_run(Path("runs/new"), written_at=2, models=("best",))
    said = list[str]()
    assert find_model(None, say=said.append) == find_model(None) == Path("runs/new/best.safetensors")
    assert said == ["runs/new: the newest run, as none is named"]


# What training has written


def test_models_and_checkpoints_are_results_and_a_log_is_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", models=("best", "last", "checkpoints/step-5", "checkpoints/step-10"))
    (run / "checkpoints/notes").touch()
    assert results(run) == [
        *("best.safetensors", "last.safetensors"),
        *("checkpoints/step-10.safetensors", "checkpoints/step-5.safetensors"),
    ]
    (make_run(tmp_path / "other") / "checkpoints").touch()
    with pytest.raises(NotADirectoryError):
        results(tmp_path / "other")


def test_a_model_is_called_like_its_run_or_else_like_its_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "20010203-120000-plays", models=("best", "checkpoints/step-5"))
    for name in ("best.safetensors", "checkpoints/step-5.safetensors"):
        assert folder.model_name(run / name) == run.name
        assert folder.run_of(run / name) == run
    assert folder.model_name(tmp_path / "mine.safetensors") == "mine"
    assert folder.run_of(tmp_path / "mine.safetensors") is None


def test_what_has_no_model_is_refused_with_what_would_do(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "my text.txt").touch()
    for name, message in (
        ("run", r"run: no model in this run yet: .* charlm train --resume --run .*/run"),
        ("nowhere", "nowhere: no such file or folder; must be a run or a model file"),
        (
            "my text.txt",
            r"not a model file .*charlm train '.*/my text\.txt'; .*: charlm evaluate RUN '.*/my text\.txt'$",
        ),
    ):
        with pytest.raises(CharlmError, match=message):
            find_model(tmp_path / name)


def test_a_resume_without_a_name_continues_the_newest_run_that_has_not_ended(tmp_path: Path) -> None:
    for age, name in enumerate(("ended", "unfinished", "older")):
        run = make_run(tmp_path / name)
        os.utime(run / "metrics.jsonl", (1000 - age, 1000 - age))
    (tmp_path / "ended/ended.json").touch()
    assert folder.newest_unfinished_run(tmp_path).name == "unfinished"
    for name in ("unfinished", "older"):
        (tmp_path / name / "ended.json").touch()
    assert folder.newest_unfinished_run(tmp_path).name == "ended"
