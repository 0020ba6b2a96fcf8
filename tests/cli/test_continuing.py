"""How `charlm train` starts, continues and leaves a run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from commands import charlm
from conftest import CAN_TRAIN
from corpora import write_plays
from processes import settings
from run_folders import contents

import charlm as library
from charlm.events import Event, Saved

pytestmark = pytest.mark.skipif(not CAN_TRAIN, reason="it trains")

OVERRIDES = ("training.steps=20", "training.evaluations=2")


def repeat(folder: Path, *options: str) -> Result:
    """Run the command that starts a run of the text in a folder, or continues it."""
    return charlm(
        "train",
        folder / "text.txt",
        "-c",
        "tiny",
        *settings(*OVERRIDES),
        "-r",
        folder / "run",
        "--resume",
        *options,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the command once, and return the folder with its text and its run."""
    folder = tmp_path_factory.mktemp("finished")
    write_plays(folder / "text.txt")
    command = repeat(folder)
    assert command.exit_code == 0, command.stderr
    return folder


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a text and a run that was interrupted at step 10."""
    folder = tmp_path_factory.mktemp("half")
    text = write_plays(folder / "text.txt")

    def stop(event: Event) -> None:
        if isinstance(event, Saved):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.train(text, recipe="tiny", overrides=OVERRIDES, run=folder / "run", on_event=stop)
    return folder


@pytest.fixture
def interrupted(half: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder."""
    return Path(shutil.copytree(half, tmp_path / "interrupted"))


def test_the_newest_unfinished_run_is_resumed_without_its_name(interrupted: Path) -> None:
    shutil.copytree(interrupted / "run", "runs/unfinished")
    command = charlm("train", "--resume")
    assert command.exit_code == 0, command.stderr
    assert "charlm: resumed at step 10 of 20\n" in command.stderr
    assert Path("runs/unfinished/ended.json").exists()


def test_a_run_that_continues_keeps_its_settings(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine has lost the compiler."""
    monkeypatch.setattr("charlm.engines.kernel.LOADED", [])
    monkeypatch.setenv("CC", "missing")
    before = (interrupted / "run/config.yaml").read_bytes()
    ignored = ("-s", "training.steps=90", "--init", "gone", "--minutes", "1", "--json")
    command = repeat(interrupted, *ignored)
    assert json.loads(command.stdout)["minutes"] is None
    assert "charlm: resumed at step 10 of 20\n" in command.stderr
    assert "training.kernel: using keras, because no C compiler" in command.stderr
    assert (interrupted / "run/config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "option",
    [{"recipe": "x"}, {"overrides": "x=1"}, {"epochs": 1}, {"minutes": 1}, {"init": "x"}, {}],
    ids=str,
)
def test_an_option_without_effect_is_noted(option: dict[str, Any], finished: Path) -> None:
    events: list[Event] = []
    run = finished / "run"
    library.train(finished / "text.txt", run=run, resume=True, on_event=events.append, **option)
    assert ("continuing with the settings" in str(events)) == bool(option)


@pytest.mark.parametrize("name", ["half", "finished"])
def test_another_text_is_refused(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(name), tmp_path / "copy"))
    (folder / "text.txt").write_text("Another text.\n" * 100, encoding="utf-8")
    before = contents(folder)
    command = repeat(folder)
    assert command.exit_code == 1
    assert f"{folder}/run: began with a different text than {folder}/text.txt" in command.stderr
    assert contents(folder) == before


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the time of the last change, and the size, of everything in a folder."""
    paths = [folder, *folder.rglob("*")]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}


@pytest.mark.parametrize("has_text", [False, True], ids=["run", "text with a run"])
def test_a_finished_run_is_not_touched(has_text: bool, finished: Path) -> None:
    run = finished / "run"
    before = contents(run), stamps(run)
    command = repeat(finished, "-q") if has_text else charlm("train", "--resume", "-r", run)
    assert (command.exit_code, command.stdout) == (0, "")
    assert (contents(run), stamps(run)) == before


def test_the_outcome_of_a_finished_run_is_printed_as_json(finished: Path) -> None:
    first = json.loads((finished / "run/ended.json").read_text())
    command = charlm("train", "--resume", "-r", finished / "run", "--json")
    found = json.loads(command.stdout)
    assert found.pop("total_seconds") >= 0
    assert found == {
        **first,
        "run": f"{finished}/run",
        "minutes": None,
        "suggestion": None,
        "warnings": [],
        "model": str(finished / "run/best.safetensors"),
    }
