"""A real server and clients that do not behave: the others do not notice, and nothing is answered with 500."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.serve_load import read_process, serving
from processes import command_line
from serving.conftest import Server

pytestmark = pytest.mark.slow

ENDLESS = 100_000_000
SECONDS = 30


def call(
    port: int, method: str, path: str, body: bytes | dict[str, Any] | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Send a request, and return the status, the body and the headers of the answer."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        with connection.getresponse() as response:
            return response.status, response.read(), response.headers


def complete(port: int, **fields: Any) -> tuple[int, Any]:
    status, body, _ = call(port, "POST", "/v1/completions", {"prompt": "The ", "max_tokens": 5, **fields})
    return status, json.loads(body)


def text_of(port: int, **fields: Any) -> str:
    status, answer = complete(port, **fields)
    assert status == 200, answer
    return str(answer["choices"][0]["text"])


@contextmanager
def streaming(port: int, **fields: Any) -> Iterator[http.client.HTTPResponse]:
    """Begin a streamed completion; the connection is closed in the end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    body = {"prompt": "The ", "max_tokens": ENDLESS, "stream": True, **fields}
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    try:
        yield response
    finally:
        response.close()
        connection.close()


def wait_until(is_true: Any) -> None:
    """Wait until a function returns true, or fail."""
    end = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


@pytest.fixture
def small_server(trained_run: Path) -> Iterator[int]:
    """Start a server with two slots, a queue of eight and no bound to the length of a text; return its port."""
    with serving(trained_run, "--slots", "2", "--max-tokens", str(ENDLESS)) as (_, port):
        yield port


# Requests


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/nothing", None, {}, 404),
        ("GET", "/v1/completions", None, {}, 405),
        ("POST", "/v1/completions", b"{", {}, 400),
        ("POST", "/v1/completions", b'{"model": "\\u202e"}', {}, 404),
        ("POST", "/v1/completions", b"x" * 10_000_000, {}, 413),
        ("GET", "/v1/models", None, {"Host": "evil.example"}, 403),
        ("POST", "/v1/completions", {"prompt": "a"}, {"Origin": "null"}, 403),
    ],
)
def test_a_wrong_request_is_refused_with_an_error_object(
    server: Server, *, method: str, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    found, answer, answer_headers = call(server.port, method, path, body, **headers)
    assert found == status
    error = json.loads(answer)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].isprintable()
    assert answer_headers["Content-Type"] == "application/json"
    assert answer_headers["Access-Control-Allow-Origin"] is None


def test_the_page_has_a_policy_that_lets_it_load_nothing_from_elsewhere(server: Server) -> None:
    status, body, headers = call(server.port, "GET", "/")
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    assert b"default-src 'none'" in body
    assert b"connect-src 'self'" in body
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_server_with_a_key_answers_those_who_bring_it(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_API_KEY", "secret")
    with serving(trained_run) as (_, port):
        assert call(port, "GET", "/")[0] == 200
        for key, status in (("", 401), ("Bearer no", 401), ("Bearer secret", 200)):
            assert call(port, "GET", "/v1/models", Authorization=key)[0] == status
            assert call(port, "POST", "/v1/completions", {"max_tokens": 1}, Authorization=key)[0] == status


FAILING = """
import sys
from charlm.__main__ import clean_up_on_signals
from charlm.api.model import load
from charlm.errors import CharlmError
from charlm.sampling.batch import Batch
from charlm.serving.jobs import ServedModel
from charlm.serving.requests import ServerLimits
from charlm.serving.server import listen, run_server, url_of

class Failing(Batch):
    def step(self):
        raise ZeroDivisionError("by zero")

model = load(sys.argv[1])
clean_up_on_signals()
models = {"m": ServedModel("m", model.vocabulary, 0, 16)}
batches = {"m": Failing(model.bundle.parameters, slots=2)}
with listen("127.0.0.1", 0) as listener:
    listener.listen()
    print(url_of(listener), flush=True)
    try:
        run_server(models, batches, listener, limits=ServerLimits(), page=b"")
    except CharlmError as error:
        sys.exit(str(error))
"""


def test_a_step_that_fails_ends_the_server_with_its_cause(trained_run: Path) -> None:
    command = [sys.executable, "-c", FAILING, str(trained_run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        status, answer = complete(int(process.stdout.readline().rpartition(":")[2]))
        process.send_signal(signal.SIGTERM)  # too late to hide the cause
        _, messages = process.communicate(timeout=SECONDS)
    assert (status, answer["error"]["message"]) == (500, "the server has failed, and ends")
    assert (process.returncode, messages) == (1, "writing has failed: ZeroDivisionError: by zero\n")


# Clients that do not do their part


def test_clients_that_vanish_free_their_slots(small_server: int) -> None:
    with streaming(small_server) as first, streaming(small_server, n=9, max_tokens=ENDLESS // 10) as second:
        assert first.readline().startswith(b"data: {")
        assert second.readline().startswith(b"data: {")
        status, answer = complete(small_server)
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        assert call(small_server, "POST", "/v1/completions", {})[2]["Retry-After"] == "1"
    wait_until(lambda: complete(small_server, n=10)[0] == 200)


def test_a_client_that_vanishes_before_its_answer_frees_its_slot(small_server: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", small_server, timeout=SECONDS)
    connection.request("POST", "/v1/completions", json.dumps({"prompt": "The ", "n": 10, "max_tokens": ENDLESS // 10}))
    wait_until(lambda: complete(small_server)[0] == 503)
    connection.close()
    wait_until(lambda: complete(small_server, n=10)[0] == 200)


def test_a_thousand_slow_connections_are_not_noticed_and_are_closed(trained_run: Path) -> None:
    with serving(trained_run) as (process, port):
        connections = [socket.create_connection(("127.0.0.1", port), SECONDS) for _ in range(1000)]
        try:
            for connection in connections:
                connection.send(b"P")
            text_of(port, max_tokens=50)
            wait_until(lambda: read_process(process.pid).open_files < 100)
        finally:
            for connection in connections:
                connection.close()


def test_a_body_that_does_not_arrive_is_given_up(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


# The end


def test_sigterm_finishes_what_was_begun_and_takes_nothing_more(trained_run: Path) -> None:
    with serving(trained_run, "--max-tokens", str(ENDLESS)) as (process, port):
        with streaming(port, max_tokens=30_000, seed=1) as response:
            assert response.readline().startswith(b"data: {")
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_refused(port))
            events = response.read().decode()
        assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert events.endswith("data: [DONE]\n\n")
    text = "".join(
        json.loads(line[6:])["choices"][0]["text"] for line in events.splitlines() if line.startswith("data: {")
    )
    assert len(text) > 20_000


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def run_serve(*arguments: str | Path) -> "subprocess.Popen[str]":
    command = command_line("serve", *arguments)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_ends_it_with_130_and_without_a_traceback(bundle_folder: Path) -> None:
    with run_serve(bundle_folder, "--port", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert messages.startswith("charlm: serving bundle at http://127.0.0.1:")
    assert len(messages.splitlines()) == 1


def test_a_connection_sends_small_answers_at_once() -> None:
    pytest.importorskip("uvicorn", reason="missing: uvicorn")
    from charlm.serving.server import listen

    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            assert connection.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY on no other"


def test_two_models_are_served_beside_each_other(bundle_folder: Path, trained_run: Path) -> None:
    with serving(trained_run, str(bundle_folder)) as (_, port):
        models = json.loads(call(port, "GET", "/v1/models")[1])["data"]
        assert [model["id"] for model in models] == [trained_run.name, "bundle"]
        assert models[0]["limits"] == {"prompt_characters": 65_536, "tokens": 4096, "answer_values": 1_048_576}
        assert set(text_of(port, model="bundle", prompt="ab", max_tokens=50)) <= set("\nab")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"prompt": "e" * 65_537}, 400, "context_length_exceeded"),
        ({"model": "other"}, 404, "model_not_found"),
        ({"unit": 10**9}, 400, None),
        ({"units": 1}, 400, None),
        ({"prompt": "The ", "unit": 1}, 200, None),
    ],
)
def test_states_are_bounded_and_refused_as_texts_are(
    server: Server, fields: dict[str, Any], status: int, code: str | None
) -> None:
    found, body, _ = call(server.port, "POST", "/v1/states", fields)
    assert found == status
    assert json.loads(body).get("error", {}).get("code") == code
