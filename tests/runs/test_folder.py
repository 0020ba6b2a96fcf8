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


@pytest.mark.parametrize("missing", ["config.yaml", "metrics.jsonl"])
def test_run_has_begun_once_it_has_a_config_and_metrics(tmp_path: Path, missing: str) -> None:
    run = make_run(tmp_path / "run")
    assert is_run(run)
    (run / missing).unlink()
    assert not is_run(run)


def test_folder_that_cannot_be_looked_up_does_not_hide_the_runs_beside_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "broken").symlink_to("x" * 300)  # longer than a file name may be
    assert find_runs(tmp_path) == [run]


def test_newest_run_is_the_one_with_the_last_written_metrics(tmp_path: Path) -> None:
    make_run(tmp_path / "b", written_at=1)
    newest = make_run(tmp_path / "a", written_at=3)
    make_run(tmp_path / "c", written_at=2)
    (tmp_path / "not-a-run").mkdir()
    assert find_run(None, under=tmp_path) == newest


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_folder_without_runs_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    with pytest.raises(CharlmError, match="no run here; name one, or train one with: charlm train"):
        find_run(None, under=tmp_path / name)


NAMES = ("20010203-120000-plays", "20010203-120001-plays-2", "20010204-120000-letters", "letters")


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Return a folder with a run of each of NAMES, and a folder that is no run."""
    for name in NAMES:
        make_run(tmp_path / name)
    (tmp_path / "tune-space").mkdir()
    return tmp_path


@pytest.mark.parametrize(("part", "name"), [("0204", NAMES[2]), ("plays-2", NAMES[1]), ("letters", NAMES[3])])
def test_a_part_of_a_name_means_the_only_run_that_has_it_or_the_one_with_that_name(
    several: Path, part: str, name: str
) -> None:
    assert find_run(Path(part), under=several) == several / name


def test_a_part_of_several_names_is_refused_with_these_names(several: Path) -> None:
    with pytest.raises(CharlmError, match=rf"^plays: a part of the names of several runs: {NAMES[0]}, {NAMES[1]}; "):
        find_run(Path("plays"), under=several)


def test_a_part_of_no_name_is_refused_with_the_nearest_run(several: Path) -> None:
    with pytest.raises(CharlmError, match=rf"^plaies: no such folder, .*; did you mean {NAMES[0]}\?$"):
        find_run(Path("plaies"), under=several)
    with pytest.raises(CharlmError, match=r"^qqqq: no such folder, .*; charlm runs lists those under "):
        find_run(Path("qqqq"), under=several)


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


def test_run_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"run: no model in this run yet: .* charlm train --resume --run .*/run"):
        find_model(make_run(tmp_path / "run"))


# What training has written


def test_models_and_checkpoints_are_results_and_a_log_is_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", models=("best", "last"))
    (run / "metrics.jsonl").write_text('{"step": 1}\n', encoding="utf-8")
    (run / "checkpoints").mkdir()
    for name in ("step-5.safetensors", "step-10.safetensors", "notes"):
        (run / "checkpoints" / name).touch()
    assert results(run) == [
        *("best.safetensors", "last.safetensors"),
        *("checkpoints/step-10.safetensors", "checkpoints/step-5.safetensors"),
    ]


def test_a_model_is_called_like_its_run_or_else_like_its_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "20010203-120000-plays", models=("best", "checkpoints/step-5"))
    for name in ("best.safetensors", "checkpoints/step-5.safetensors"):
        assert folder.model_name(run / name) == run.name
        assert folder.run_of(run / name) == run
    assert folder.model_name(tmp_path / "mine.safetensors") == "mine"
    assert folder.run_of(tmp_path / "mine.safetensors") is None


def test_checkpoints_that_cannot_be_read_are_not_taken_for_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "checkpoints").touch()
    with pytest.raises(NotADirectoryError):
        results(run)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="nowhere: no such file or folder; must be a run or a model file"):
        find_model(tmp_path / "nowhere")


def test_a_text_in_the_place_of_a_run_is_refused_with_where_it_goes(tmp_path: Path) -> None:
    (tmp_path / "my text.txt").touch()
    advice = r"not a model file .*charlm train '.*/my text\.txt'; .*: charlm evaluate RUN '.*/my text\.txt'$"
    with pytest.raises(CharlmError, match=advice):
        find_model(tmp_path / "my text.txt")


def test_a_resume_without_a_name_continues_the_newest_run_that_has_not_ended(tmp_path: Path) -> None:
    for age, name in enumerate(("ended", "unfinished", "older")):
        run = make_run(tmp_path / name)
        os.utime(run / "metrics.jsonl", (1000 - age, 1000 - age))
    (tmp_path / "ended/ended.json").touch()
    assert folder.newest_unfinished_run(tmp_path).name == "unfinished"
    for name in ("unfinished", "older"):
        (tmp_path / name / "ended.json").touch()
    assert folder.newest_unfinished_run(tmp_path).name == "ended"
