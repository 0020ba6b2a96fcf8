"""The command `serve` in a process of its own: openai, many clients, signals, its log."""

import json
import os
import re
import signal
import socket
import struct
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import Process, command_line, started

pytest.importorskip("uvicorn", reason="missing: uvicorn")

from serving.client import SECONDS, ask

from charlm.api.model import load

pytestmark = pytest.mark.slow

STARTED = "charlm: serving {}; Ctrl-C stops the server\n"


@contextmanager
def serving(*arguments: Path | str) -> Iterator[tuple[Process, int]]:
    """Start the command on a free port; yield its process and port."""
    with started(command_line("serve", *arguments, "--port", 0)) as (process,):
        assert process.stdout is not None
        url = process.stdout.readline()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", url)
        yield process, int(url.rpartition(":")[2])


def stop(process: Process) -> str:
    """Stop a server; return all that it printed on standard error."""
    process.send_signal(signal.SIGTERM)
    output, lines = process.communicate(timeout=SECONDS)
    assert (process.returncode, output) == (128 + signal.SIGTERM, "")
    return lines


WARNED = "charlm: --host 0.0.0.0: other machines need no key, only a name in --allow-host; set "


@pytest.mark.parametrize(
    ("host", "key", "warning"), [("::1", "", ""), ("0.0.0.0", "", WARNED), ("0.0.0.0", "k", "")]
)
def test_a_server_answers_at_the_address_that_it_prints(
    host: str, key: str, warning: str, model_file: Path
) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    command = command_line("serve", model_file, "--host", host, "--port", 0)
    keys = {"CHARLM_API_KEY": key} if key else {}
    with started(command, env={**os.environ, "COLUMNS": "200", **keys}) as (process,):
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/health", timeout=SECONDS) as answer:
            assert answer.status == 200
        told = stop(process)
    assert told.startswith(STARTED.format("model") + warning)
    assert told.count("\n") == (2 if warning else 1)


def test_openai_gets_the_text_of_the_library(trained_run: Path) -> None:
    openai: Any = pytest.importorskip("openai", reason="missing: openai")
    model = load(trained_run)
    expected = str(model.generate("The ", seed=5, temperature=0.7, length=60))
    settings = {"model": trained_run.name, "prompt": "The ", "seed": 5, "temperature": 0.7}
    with (
        serving(trained_run) as (_, port),
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client,
    ):
        assert [each.id for each in client.models.list()] == [trained_run.name]
        create = client.completions.create
        answer = create(**settings, max_tokens=60, logprobs=1, echo=True)
        events = list(create(**settings, max_tokens=60, stream=True))
        with pytest.raises(openai.BadRequestError, match="suffix: found 'x'; there is no such key"):
            create(**settings, suffix="x")
    choice = answer.choices[0]
    assert (choice.text, choice.finish_reason) == (f"The {expected}", "length")
    assert choice.logprobs.text_offset == [*range(64)]
    nats = model.score(choice.text).tolist()
    assert choice.logprobs.token_logprobs == [None, *[pytest.approx(-loss) for loss in nats]]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 60)
    assert "".join(event.choices[0].text for event in events) == expected


def test_sigterm_finishes_pending_requests(trained_run: Path) -> None:
    with serving(trained_run) as (process, port), ThreadPoolExecutor() as pool:
        fields = {"prompt": "The ", "max_tokens": 20_000, "seed": 1}
        pending = pool.submit(ask, port, "POST /v1/completions", fields)
        ask(port, "POST /v1/completions", {"max_tokens": 64})  # the long one has begun
        process.send_signal(signal.SIGTERM)
        assert pending.result().json["choices"][0]["finish_reason"] in {"length", "stop"}
        assert process.wait(SECONDS) == 128 + signal.SIGTERM


BODY = json.dumps({"prompt": "a" * 500, "n": 20, "echo": True, "logprobs": 5}).encode()
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nno method\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
        POST + b"X: " + b"x" * 100_000,
        POST + b"Content-Length: 9\r\n\r\n{",
        POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    ],
    ids=["second request", "chunk", "head", "body", "answer"],
)
def test_clients_that_violate_http_or_leave_cause_no_output(sent: bytes, model_file: Path) -> None:
    no_linger = struct.pack("ii", 1, 0)  # closing resets the connection
    with serving(model_file) as (process, port):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
                client.sendall(sent)
                assert ask(port, "GET /health").status == 200
        assert stop(process) == STARTED.format("model")
