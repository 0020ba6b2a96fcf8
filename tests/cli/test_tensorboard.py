"""`charlm tensorboard`: what TensorBoard is asked to show, and that it shows it."""

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
from commands import charlm, check_failure, check_usage_error, table

from charlm.cli.tensorboard import become_tensorboard, log_arguments, tensorboard
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


def test_without_any_run_the_command_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with pytest.raises(CharlmError, match=f"{name}: TensorBoard takes several runs only if no name has a comma"):
        log_arguments([make_run(tmp_path / name), make_run(tmp_path / "other")])


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    command = charlm("tensorboard", tmp_path)
    assert command.exit_code == 1
    assert command.stderr == f"charlm: {tmp_path}: not a run: there is no tensorboard/ in it\n"


Execution = tuple[str, list[str], dict[str, str]]


def execution(folder: Path) -> Execution:
    """Return the program, the arguments and the environment that would replace the process."""
    executions: list[Execution] = []
    become_tensorboard([folder], host="127.0.0.1", port=6006, execute=lambda *given: executions.append(given))
    (only,) = executions
    return only


def test_the_process_becomes_a_tensorboard_that_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    program, arguments, _ = execution(make_run(tmp_path / "one"))
    python = [sys.executable, "-P", "-m", "tensorboard.main"]
    assert program == sys.executable
    assert arguments == [*python, "--logdir", f"{tmp_path}/one", "--host", "127.0.0.1", "--port", "6006"]


def test_tensorflow_is_told_to_be_quiet_unless_the_user_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSE", "kept")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    environment = execution(make_run(tmp_path / "one"))[2]
    assert (environment["TF_CPP_MIN_LOG_LEVEL"], environment["ELSE"]) == ("3", "kept")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert execution(tmp_path / "one")[2]["TF_CPP_MIN_LOG_LEVEL"] == "0"


@pytest.mark.parametrize(("option", "expected"), [("host", "127.0.0.1"), ("port", 6006)])
def test_by_default_it_listens_at_this_machine_alone(option: str, expected: str | int) -> None:
    assert {parameter.name: parameter.default for parameter in tensorboard.params}[option] == expected


@pytest.fixture(scope="module")
def address(trained_run: Path) -> Iterator[str]:
    """Serve the trained run with TensorBoard; yield the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "charlm", "tensorboard", str(trained_run), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def ask(url: str, *, until: str) -> Any:
    """Return the JSON at an address once it has a key."""
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


@pytest.mark.slow
def test_the_scalars_of_a_run_are_served(address: str) -> None:
    run = ask(f"{address}/data/plugin/scalars/tags", until="tensorboard")["tensorboard"]
    assert {"nats_per_char/train", "nats_per_char/validation", "learning_rate", "gradient_norm"} <= set(run)


@pytest.mark.usefixtures("place")
@table("""
tensorboard          | runs/: no run here
tensorboard missing  | missing: not a run
tensorboard bundle   | bundle: not a run
tensorboard text.txt | text.txt: not a run
tensorboard loop     | loop: not a run
""")
def test_a_failure_is_one_line_that_names_what_is_wrong(line: str, expected: str) -> None:
    check_failure(line, expected)


@pytest.mark.usefixtures("place")
@table("""
tensorboard --port 99999 | '--port'
tensorboard --port any   | '--port'
tensorboard --port -1    | '--port'
""")
def test_wrong_usage_names_the_argument(line: str, expected: str) -> None:
    check_usage_error(line, expected)
