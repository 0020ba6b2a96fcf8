"""`charlm tensorboard`: how TensorBoard is run, and that it shows every tag of every run."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import charlm, check_failure, check_usage_error, table

from charlm.cli.tensorboard import command, serve


def serve_program(program: str, refresh: Callable[[], None] = lambda: None) -> int:
    """Serve a program in Python in place of TensorBoard, and refresh ten times a second."""
    return serve([sys.executable, "-c", program], refresh, refresh_seconds=0.1)


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    failed = charlm("tensorboard", tmp_path)
    assert failed.exit_code == 1
    assert failed.stderr == f"charlm: {tmp_path}: not a run: there is no tensorboard/ in it\n"


def test_tensorboard_imports_nothing_from_the_current_folder_and_keeps_all_texts(tmp_path: Path) -> None:
    arguments = command(tmp_path, host="127.0.0.1", port=6006)
    assert arguments[:2] == [sys.executable, "-P"]
    assert arguments[arguments.index("--logdir") + 1] == str(tmp_path)
    assert arguments[arguments.index("--samples_per_plugin") + 1] == "text=100000"
    assert arguments[-4:] == ["--host", "127.0.0.1", "--port", "6006"]


def test_the_exit_code_is_that_of_the_program() -> None:
    assert serve_program("import sys; sys.exit(7)") == 7


def test_the_links_are_refreshed_until_it_ends() -> None:
    refreshed: list[float] = []
    serve_program("import time; time.sleep(0.5)", lambda: refreshed.append(time.monotonic()))
    assert len(refreshed) >= 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_handlers_are_as_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    program = f"import signal, time; signal.signal({int(number)}, signal.SIG_DFL); time.sleep(60)"
    assert serve_program(program, lambda: signal.raise_signal(number)) == -number
    assert signal.getsignal(number) == before


@pytest.fixture(scope="module")
def address(trained_run: Path) -> Iterator[str]:
    """Serve the trained run and a copy of it with TensorBoard; yield the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = trained_run.parent / "other"
    shutil.copytree(trained_run, other)
    arguments = [sys.executable, "-m", "charlm", "tensorboard", str(trained_run), str(other), "--port", str(port)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        said = process.stderr.read() if process.stderr is not None else ""
    shutil.rmtree(other)
    assert process.returncode in {0, 128 + signal.SIGTERM}
    assert "tensorflow" not in said.replace("github.com/tensorflow", "").lower(), said


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


RUNS = {"run", "other"}
SCALARS = {
    *("nats_per_char/train", "nats_per_char/validation", "nats_per_char/5-gram", "best_nats_per_char"),
    *("learning_rate", "gradient_norm", "gradient_norm/rnn.0", "update_to_weights/logits"),
    *("spectral_radius/rnn.0", "saturated/rnn.0", "gradient_reach/rnn.0"),
}
SERVED = {
    "scalars/scalars": SCALARS,
    "text/text": {"config", "sample", "sample/temperature_0.8", "sample/temperature_1"},
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


@pytest.mark.slow
def test_the_layout_of_the_charts_is_served(address: str) -> None:
    ask(f"{address}/data/plugin/scalars/tags", until="other")
    layout = ask(f"{address}/data/plugin/custom_scalars/layout", until="category")
    assert [category["title"] for category in layout["category"]] == ["loss", "steps", "network"]


@pytest.mark.usefixtures("place")
@table("""
tensorboard          | runs/: no run here
tensorboard missing  | missing: not a run
tensorboard bundle   | bundle: not a run
""")
def test_a_failure_is_one_line_that_names_what_is_wrong(line: str, expected: str) -> None:
    check_failure(line, expected)


@pytest.mark.usefixtures("place")
@table("""
tensorboard --port 99999 | '--port'
tensorboard --port -1    | '--port'
""")
def test_wrong_usage_names_the_argument(line: str, expected: str) -> None:
    check_usage_error(line, expected)
