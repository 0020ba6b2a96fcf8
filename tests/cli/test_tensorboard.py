"""`charlm tensorboard`: that it shows every tag of every run."""

import json
import re
import shutil
import signal
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import charlm
from processes import command_line, run_process, started, wait_until


def test_a_port_that_is_taken_is_named_and_no_address_is_said(trained_run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_process("tensorboard", trained_run, "--port", port, timeout=60)
    assert result.returncode == 1
    assert str(port) in result.stderr
    assert "CUSTOM SCALARS" not in result.stderr


@pytest.fixture(scope="module")
def address(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve two copies of the trained run with TensorBoard; yield the address."""
    runs = tmp_path_factory.mktemp("runs")
    for name in RUNS:
        shutil.copytree(trained_run, runs / name)
    with started(command_line("tensorboard", runs, "--port", 0)) as (process,):
        assert process.stderr is not None
        said = ""
        while "http://" not in said:
            said += next(process.stderr)
        assert said.endswith("/#custom_scalars&_smoothingWeight=0\n")
        yield re.findall(r"http://[\d.:]+", said)[0]  # it listens by then
        process.terminate()
        said += process.communicate()[1]
    assert process.returncode in {0, 128 + signal.SIGTERM}
    assert "tensorflow" not in said.replace("github.com/tensorflow", "").lower(), said


def ask(url: str, *, until: str) -> Any:
    """Return the JSON at an address once it has a key."""

    def answer() -> Any:
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    wait_until(lambda: until in answer(), [])
    return answer()


RUNS = {"run", "other"}
SCALARS = {
    *("nats_per_char/train", "nats_per_char/validation", "nats_per_char/5-gram", "best_nats_per_char"),
    *("learning_rate", "gradient_norm"),
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


# Failures


@pytest.mark.parametrize("command", ["tensorboard", "serve"])
@pytest.mark.parametrize("host", ["a" * 100, "a..b"])
def test_a_host_that_cannot_be_looked_up_is_wrong_usage(command: str, host: str) -> None:
    refused = charlm(command, "--host", host)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--host" in refused.stderr
    assert "must be an address" in refused.stderr
