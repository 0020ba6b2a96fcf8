"""A real server and clients that do not behave: the others do not notice, and nothing is answered with 500."""

import http.client
import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.serve_load import post, serving
from processes import command_line, started, wait_until
from serving.conftest import Server

from charlm.api.model import load
from charlm.formats.exporting import export_html
from charlm.runs.folder import model_name

pytestmark = pytest.mark.slow

LONG = 65_536
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


def text_of(port: int, **fields: Any) -> str:
    """Return the text of a completion."""
    status, body, _ = call(port, "POST", "/v1/completions", {"prompt": "The ", "max_tokens": 5, **fields})
    assert status == 200, body
    return str(json.loads(body)["choices"][0]["text"])


@contextmanager
def streaming(port: int, **fields: Any) -> Iterator[http.client.HTTPResponse]:
    """Begin a streamed completion; the connection is closed in the end."""
    body = {"prompt": "The ", "max_tokens": LONG, "stream": True, **fields}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("POST", "/v1/completions", json.dumps(body))
        with connection.getresponse() as response:
            yield response


# Clients that do not do their part


MAX_REQUESTS = 256


def test_clients_that_leave_free_their_places(server: Server) -> None:
    with ExitStack() as stack:
        body = {"prompt": "The ", "max_tokens": LONG}
        for _ in range(MAX_REQUESTS // 2):
            stack.enter_context(post(server.port, body))
            assert stack.enter_context(streaming(server.port)).status == 200
        status, answer, headers = call(server.port, "POST", "/v1/completions", {"prompt": "a"})
        assert (status, json.loads(answer)["error"]["code"]) == (429, "overloaded")
        assert headers["Retry-After"] == "1"
    one = {"prompt": "a", "max_tokens": 1}
    wait_until(lambda: call(server.port, "POST", "/v1/completions", one)[0] == 200, ())


def test_a_text_is_the_same_beside_many_others(server: Server) -> None:
    def read(number: int) -> str:
        return text_of(server.port, seed=7 + number, max_tokens=300, prompt="The " * (number + 1))

    alone = read(0)
    with ThreadPoolExecutor(24) as pool:
        assert next(iter(pool.map(read, range(24)))) == alone


# The end


def test_sigterm_finishes_what_was_begun_and_takes_nothing_more(trained_run: Path) -> None:
    with serving(trained_run) as (process, port):
        with streaming(port, max_tokens=20_000, seed=1) as response:
            assert response.readline().startswith(b"data: {")
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_refused(port), ())
            events = response.read().decode()
        assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert events.endswith("data: [DONE]\n\n")
    text = "".join(
        json.loads(line[6:])["choices"][0]["text"] for line in events.splitlines() if line.startswith("data: {")
    )
    assert len(text) > 10_000


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_ctrl_c_ends_it_with_130_and_without_a_traceback(model_file: Path) -> None:
    with started(command_line("serve", model_file, "--port", "0")) as (process,):
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert messages.startswith("charlm: serving model at http://127.0.0.1:")
    assert len(messages.splitlines()) == 1


def test_a_connection_sends_small_answers_at_once() -> None:
    pytest.importorskip("uvicorn", reason="missing: uvicorn")
    from charlm.serving.server import listen

    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            assert connection.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY on no other"


def test_two_models_are_served_beside_each_other_by_their_names(model_file: Path, trained_run: Path) -> None:
    with serving(trained_run, str(model_file)) as (_, port):
        models = json.loads(call(port, "GET", "/v1/models")[1])["data"]
        assert [model["id"] for model in models] == [trained_run.name, "model"]
        for path, folder in (("/", trained_run), ("/model", model_file)):
            model = load(folder)
            page = export_html(model.trained, title=model_name(model.path))["index.html"]
            assert call(port, "GET", path)[1] == page
        assert set(text_of(port, model="model", prompt="ab", max_tokens=50)) <= set("\nab")
