"""Which folders are runs, and which run or bundle is found."""

import os
import shlex
import time
from pathlib import Path

import pytest

from charlm.config.recipes import shipped_models
from charlm.errors import CharlmError
from charlm.runs import folder
from charlm.runs.folder import find_bundle, find_run, find_runs, is_run, newest_run, results


def make_run(folder: Path, *, written_at: int = 0, bundles: tuple[str, ...] = ()) -> Path:
    """Make the files of a run folder that these functions look at."""
    folder.mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl"):
        (folder / name).touch()
        os.utime(folder / name, (written_at, written_at))
    for bundle in bundles:
        (folder / bundle).mkdir()
        (folder / bundle / "model.json").touch()
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


def test_new_folder_is_named_by_the_time_and_the_config(tmp_path: Path) -> None:
    for name in ("20010203-120000-tiny", "20010203-120000-tiny-2", "20010203-120000-tiny-3"):
        assert folder.new_folder("tiny", under=tmp_path, now=noon) == tmp_path / name
        (tmp_path / name).mkdir()


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
    assert newest_run(tmp_path) == newest


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_folder_without_runs_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    with pytest.raises(CharlmError, match="no run here; name one, or train one with: charlm train"):
        newest_run(tmp_path / name)


NAMES = ("20010203-120000-tiny", "20010203-120001-tiny-2", "20010204-120000-default", "default")


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Return a folder with a run of each of NAMES, and a folder that is no run."""
    for name in NAMES:
        make_run(tmp_path / name)
    (tmp_path / "tune-space").mkdir()
    return tmp_path


@pytest.mark.parametrize(("part", "name"), [("0204", NAMES[2]), ("tiny-2", NAMES[1]), ("default", NAMES[3])])
def test_a_part_of_a_name_means_the_only_run_that_has_it_or_the_one_with_that_name(
    several: Path, part: str, name: str
) -> None:
    assert find_run(Path(part), under=several) == several / name


def test_a_part_of_several_names_is_refused_with_these_names(several: Path) -> None:
    with pytest.raises(CharlmError, match=rf"^tiny: a part of the names of several runs: {NAMES[0]}, {NAMES[1]}; "):
        find_run(Path("tiny"), under=several)


def test_a_part_of_no_name_is_refused_with_the_nearest_run(several: Path) -> None:
    with pytest.raises(CharlmError, match=rf"^tinny: no such folder, .*; did you mean {NAMES[0]}\?$"):
        find_run(Path("tinny"), under=several)
    with pytest.raises(CharlmError, match=r"^qqqq: no such folder, .*; charlm runs lists those under "):
        find_run(Path("qqqq"), under=several)


def test_the_name_of_a_model_that_comes_with_charlm_means_it_unless_a_run_has_the_name() -> None:
    assert find_bundle(Path("river-plays")) == shipped_models()["river-plays"]
    make_run(Path("runs/new"), bundles=("best",))
    assert find_bundle(Path("river-plays")) == shipped_models()["river-plays"]
    here = make_run(Path("river-plays"), bundles=("best",))
    assert find_bundle(here) == here / "best"
    here.rename("runs/river-plays")
    assert find_bundle(Path("river-plays")) == Path("runs/river-plays/best")


def test_a_run_that_was_interrupted_before_its_first_evaluation_is_taken_from_last_with_a_line(tmp_path: Path) -> None:
    run, said = make_run(tmp_path / "run", bundles=("last",)), list[str]()
    assert find_bundle(run, say=said.append) == run / "last"
    assert said == [f"{run}: no best/ in this run yet; this is last/, the model of its last step"]
    both = make_run(tmp_path / "both", bundles=("best", "last"))
    assert find_bundle(both, say=said.append) == both / "best"
    assert len(said) == 1


def test_without_a_name_the_newest_run_is_meant() -> None:
    make_run(Path("runs/old"), written_at=1, bundles=("best",))
    make_run(Path("runs/new"), written_at=2, bundles=("best",))
    said = list[str]()
    assert find_bundle(None, say=said.append) == find_bundle(None) == Path("runs/new/best")
    assert said == ["runs/new: the newest run, as none is named"]


def test_run_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"run: no model in this run yet: .* charlm train --resume --run .*/run"):
        find_bundle(make_run(tmp_path / "run"))


# What training has written


@pytest.mark.parametrize("name", ["best/", "last/", "checkpoints/"])
def test_folder_that_training_writes_is_a_result(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / name / "step-000000000").mkdir(parents=True)
    assert results(run) == [name]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("", []),
        ('{"step": 0, "loss": 4.1}\n{"step": 0, "event": "init"}\n', []),
        ('{"step": 0}\n{"step": 1}\n', ["metrics.jsonl"]),
        ("{}\n", ["metrics.jsonl"]),
        ("damaged\n", ["metrics.jsonl"]),
    ],
)
def test_a_log_of_step_0_alone_is_no_result(lines: str, found: list[str], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text(lines, encoding="utf-8")
    assert results(run) == found


def test_checkpoints_that_cannot_be_read_are_not_taken_for_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "checkpoints").touch()
    with pytest.raises(CharlmError, match="checkpoints: cannot be read: Not a directory"):
        results(run)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="nowhere: no such folder; must be a run or a bundle"):
        find_bundle(tmp_path / "nowhere")


def test_a_text_in_the_place_of_a_run_is_refused_with_where_it_goes(tmp_path: Path) -> None:
    (tmp_path / "my text.txt").touch()
    advice = r"a file, not a run; .*charlm train '.*/my text\.txt'; .*: charlm evaluate RUN '.*/my text\.txt'$"
    with pytest.raises(CharlmError, match=advice):
        find_bundle(tmp_path / "my text.txt")


def test_a_resume_without_a_name_continues_the_newest_run_that_has_not_ended(tmp_path: Path) -> None:
    for age, name in enumerate(("ended", "unfinished", "older")):
        run = make_run(tmp_path / name)
        os.utime(run / "metrics.jsonl", (1000 - age, 1000 - age))
    (tmp_path / "ended/ended.json").touch()
    assert folder.newest_unfinished_run(tmp_path).name == "unfinished"
    for name in ("unfinished", "older"):
        (tmp_path / name / "ended.json").touch()
    assert folder.newest_unfinished_run(tmp_path).name == "ended"
