"""TensorBoard on runs: what it is asked to show, and that it shows it."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import charlm

from charlm.board import log_arguments
from charlm.errors import CharlmError


def make_run(folder: Path) -> Path:
    (folder / "tensorboard").mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl"):
        (folder / name).touch()
    return folder


def test_no_run_named_means_all_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs/one")
    assert log_arguments([]) == ["--logdir", "runs"]


def test_without_any_run_there_is_nothing_to_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CharlmError, match="no run here"):
        log_arguments([])


def test_one_run_is_shown_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    assert log_arguments([run]) == ["--logdir", str(run)]


def test_several_runs_are_shown_by_their_folders_names(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    assert log_arguments([one, two]) == ["--logdir_spec", f"one:{one},two:{two}"]


def test_runs_of_the_same_name_are_shown_by_their_paths(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a/run"), make_run(tmp_path / "b/run")
    assert log_arguments([one, other]) == ["--logdir_spec", f"{one}:{one},{other}:{other}"]


@pytest.mark.parametrize("name", ["a,b", "a:b"])
def test_names_that_tensorboard_would_split_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="comma or a colon"):
        log_arguments([make_run(tmp_path / name), make_run(tmp_path / "other")])


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    command = charlm("tensorboard", tmp_path)
    assert command.exit_code == 1
    assert command.stderr == f"charlm: {tmp_path}: not a run: there is no tensorboard/ in it\n"


def test_tensorboard_listens_at_this_machine_alone_and_imports_nothing_from_the_folder_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("charlm.board.os.execv", lambda _, command: called.append(command))
    charlm("tensorboard", make_run(tmp_path / "one"))
    python = [sys.executable, "-P", "-m", "tensorboard.main"]
    assert called == [[*python, "--logdir", f"{tmp_path}/one", "--host", "127.0.0.1", "--port", "6006"]]


@pytest.fixture(scope="module")
def address(trained_run: Path) -> Iterator[str]:
    """Serve the trained run; yield the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "charlm", "tensorboard", str(trained_run), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def ask(url: str, *, until: str) -> Any:
    """Return the JSON at an address as soon as it holds a key."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answer = json.load(response)
            if until in answer:
                return answer
        except urllib.error.URLError:
            pass  # not listening yet
        time.sleep(0.2)
    pytest.fail(f"{url}: no {until} within a minute")


def test_the_scalars_of_a_run_are_served(address: str) -> None:
    run = ask(f"{address}/data/plugin/scalars/tags", until="tensorboard")["tensorboard"]
    assert {"nats_per_char/train", "nats_per_char/validation", "learning_rate", "gradient_norm"} <= set(run)
