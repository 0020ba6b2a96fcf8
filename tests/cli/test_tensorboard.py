"""`charlm tensorboard`: the folder of links that it shows, and that it shows every tag of every run."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import charlm
from processes import command_line
from run_folders import make_run, names

from charlm.cli.tensorboard import link_runs
from charlm.errors import CharlmError


def test_a_port_that_is_taken_is_named_and_no_address_is_said(trained_run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = command_line("tensorboard", trained_run, "--port", port)
        result = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert str(port) in result.stderr
    assert "CUSTOM SCALARS" not in result.stderr


@pytest.fixture(scope="module")
def address(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the trained run and a copy of it with TensorBoard; yield the address."""
    other = tmp_path_factory.mktemp("copy") / "other"
    shutil.copytree(trained_run, other)
    arguments = command_line("tensorboard", trained_run, other, "--port", 0)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "http://" not in said:
            said += next(process.stderr)
        assert said.endswith("/#custom_scalars&_smoothingWeight=0\n")
        yield re.findall(r"http://[\d.:]+", said)[0]  # it listens by then
        process.terminate()
        said += process.stderr.read()
    assert process.returncode in {0, 128 + signal.SIGTERM}
    assert "tensorflow" not in said.replace("github.com/tensorflow", "").lower(), said


def ask(url: str, *, until: str) -> Any:
    """Return the JSON at an address once it has a key."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=10) as response:
            answer = json.load(response)
        if until in answer:
            return answer
        time.sleep(0.2)
    pytest.fail(f"{url}: no {until} within a minute")


RUNS = {"run", "other"}
SCALARS = {
    *("nats_per_char/train", "nats_per_char/validation", "nats_per_char/5-gram", "best_nats_per_char"),
    *("learning_rate", "gradient_norm", "gradient_norm/rnn.0", "update_to_weights/logits"),
    *("spectral_radius/rnn.0", "saturated/rnn.0", "gradient_reach/rnn.0"),
}
SERVED = {
    "scalars/scalars": SCALARS,
    "text/text": {"config", "sample"},
    "histograms/histograms": {"state/rnn.0", "weights/rnn.0.recurrent_kernel"},
}
"""Of each plugin: its route, and tags."""


@pytest.mark.slow
@pytest.mark.parametrize("route", SERVED)
def test_each_tag_of_each_run_is_served_at_every_step(route: str, address: str) -> None:
    plugin = route.partition("/")[0]
    tags = ask(f"{address}/data/plugin/{plugin}/tags", until="other")
    assert set(tags) == RUNS
    for run in RUNS:
        assert SERVED[route] <= set(tags[run])
        for tag in SERVED[route]:
            query = urllib.parse.urlencode({"run": run, "tag": tag, "sample": 0})
            with urllib.request.urlopen(f"{address}/data/plugin/{route}?{query}", timeout=10) as response:
                assert len(json.load(response)) >= (1 if tag == "config" else 2), tag


# Links


def make_trained_run(folder: Path) -> Path:
    (make_run(folder) / "tensorboard").mkdir()
    return folder


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Return an empty folder for the links."""
    (tmp_path / "board").mkdir()
    return tmp_path / "board"


@pytest.mark.parametrize("name", ["run", "a,b", "a:b", "-dash", "with space"])
def test_each_run_is_shown_under_its_name_without_more(name: str, tmp_path: Path, board: Path) -> None:
    run = make_trained_run(tmp_path / "deep" / name)
    link_runs(board, [run])
    assert names(board) == [name]
    assert (board / name).resolve() == run / "tensorboard"


def test_runs_of_the_same_name_are_told_apart_by_the_folder_above(tmp_path: Path, board: Path) -> None:
    first, second = make_trained_run(tmp_path / "a/run"), make_trained_run(tmp_path / "b/run")
    link_runs(board, [first, second, first])
    assert names(board) == ["a-run", "b-run"]


def test_without_names_all_runs_are_shown_also_those_that_begin_later(board: Path) -> None:
    make_trained_run(Path("runs/one"))
    link_runs(board, [])
    make_trained_run(Path("runs/two"))
    link_runs(board, [])
    assert names(board) == ["one", "two"]
    shutil.rmtree("runs/one")
    link_runs(board, [])
    assert names(board) == ["two"]


def test_without_a_run_that_has_been_trained_there_is_nothing_to_show(board: Path) -> None:
    make_run(Path("runs/untrained"))
    with pytest.raises(CharlmError, match="no run here has been trained"):
        link_runs(board, [])


# Failures


@pytest.mark.parametrize("command", ["tensorboard", "serve"])
@pytest.mark.parametrize("host", ["a" * 100, "a..b"])
def test_a_host_that_cannot_be_looked_up_is_wrong_usage(command: str, host: str) -> None:
    refused = charlm(command, "--host", host)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--host" in refused.stderr
    assert "must be an address" in refused.stderr
