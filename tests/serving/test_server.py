"""A real server: openai, clients that leave, signals."""

import http.client
import json
import re
import resource
import signal
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import json_of
from models import make_random_model
from processes import Process, command_line, started, wait_until

pytest.importorskip("uvicorn", reason="missing: uvicorn")


from charlm.api.model import load
from charlm.network.model_file import write_model

pytestmark = pytest.mark.slow

LONG, SECONDS, MAX_REQUESTS = 65_536, 30, 256
START_LINES = 2
"""Number of lines on standard error when a server listens."""


@contextmanager
def serving(*models: Path | str) -> Iterator[tuple[Process, int]]:
    """Start a server on a free port of loopback, also with options; yield its process and port."""
    with started(command_line("serve", *models, "--port", 0)) as (process,):
        assert process.stdout is not None
        yield process, int(process.stdout.readline().rpartition(":")[2])


@contextmanager
def ask(
    port: int, request: str = "POST /v1/completions", **fields: Any
) -> Iterator[http.client.HTTPResponse]:
    """Send a request; the connection is closed in the end."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        method, path = request.split()
        connection.request(method, path, json.dumps(fields) if fields else None)
        with connection.getresponse() as response:
            yield response


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def port(trained_run: Path) -> Iterator[int]:
    """Serve the small trained run to the tests that need no server of their own."""
    with serving(trained_run) as (_, port):
        yield port


def test_clients_that_leave_free_their_places(port: int) -> None:
    def status_and_retry() -> tuple[int, str | None]:
        with ask(port, prompt="a", max_tokens=1) as response:
            return response.status, response.headers["Retry-After"]

    body: dict[str, Any] = {"prompt": "The ", "max_tokens": LONG}
    with ExitStack() as stack:
        for _ in range(MAX_REQUESTS // 2):
            waiting = stack.enter_context(
                closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS))
            )
            waiting.request("POST", "/v1/completions", json.dumps(body))
            assert stack.enter_context(ask(port, **body, stream=True)).status == 200
        assert status_and_retry() == (429, "1")
    wait_until(lambda: status_and_retry() == (200, None), ())


def test_openai_gets_the_text_of_sample(port: int, trained_run: Path) -> None:
    openai: Any = pytest.importorskip("openai", reason="missing: openai")
    sampled = json_of("sample", trained_run, "-p", "The ", "--seed", "5", "-t", "0.7", "-n", 60)
    expected = sampled["samples"][0]["text"]
    settings = {"model": trained_run.name, "max_tokens": 60, "seed": 5, "temperature": 0.7}
    chat = {**settings, "messages": [{"role": "user", "content": "The "}]}
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
    ) as client:
        answer = client.completions.create(**settings, prompt="The ", logprobs=1)
        scored = client.completions.create(
            **settings | {"max_tokens": 0}, prompt="The ", logprobs=1, echo=True
        )
        message = client.chat.completions.create(**chat).choices[0].message
        events = list(client.chat.completions.create(**chat, stream=True))
    assert answer.choices[0].text == "".join(answer.choices[0].logprobs.tokens) == expected
    assert answer.choices[0].finish_reason == "length"
    assert scored.choices[0].logprobs.text_offset == [0, 1, 2, 3]
    nats = -load(trained_run).score("The ")
    assert scored.choices[0].logprobs.token_logprobs == [None, *map(pytest.approx, nats.tolist())]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 60)
    assert (message.role, message.content) == ("assistant", expected)
    assert "".join(event.choices[0].delta.content or "" for event in events) == expected
    assert events[-1].choices[0].finish_reason == "length"


def test_sigterm_finishes_pending_requests(trained_run: Path) -> None:
    with serving(trained_run) as (process, port):
        with ask(port, prompt="The ", max_tokens=20_000, seed=1, stream=True) as response:
            assert response.readline().startswith(b"data: {")
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(port), ())
            events = response.read().decode()
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 128 + signal.SIGTERM
        assert said.count("\n") == START_LINES  # no traceback
    *lines, last = filter(None, events.splitlines())
    assert last == "data: [DONE]"
    assert (
        sum(len(json.loads(line.removeprefix("data: "))["choices"][0]["text"]) for line in lines)
        > 10_000
    )


def test_many_clients_are_answered_without_more_memory(trained_run: Path) -> None:
    def status(number: int) -> int:
        with ask(
            port, prompt="The ", max_tokens=1 + number % 20, stream=number % 2 == 0
        ) as response:
            return response.status if response.read() else 0

    def megabytes() -> float:
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    with serving(trained_run) as (process, port), ThreadPoolExecutor(60) as pool:
        assert {*pool.map(status, range(200))} == {200}
        settled = megabytes()
        assert {*pool.map(status, range(800))} == {200}
        assert megabytes() - settled < 20
        assert len([*Path(f"/proc/{process.pid}/fd").iterdir()]) < 64


def test_a_replaced_model_is_served(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    write_model(path, make_random_model(seed=1))

    def text(port: int) -> str:
        with ask(port, prompt="a", temperature=0, max_tokens=20) as response:
            found: str = json.loads(response.read())["choices"][0]["text"]
            return found

    with serving(path, "--log") as (process, port):
        before = text(port)
        write_model(path, make_random_model(seed=2))
        assert text(port) == str(load(path).generate("a", temperature=0, length=20)) != before
        process.send_signal(signal.SIGTERM)
        _, lines = process.communicate(timeout=SECONDS)
    assert (
        len(
            re.findall(
                r" 127\.0\.0\.1 POST /v1/completions 200 \d\.\d{3} s \d+ bytes$",
                lines,
                re.MULTILINE,
            )
        )
        == 2
    )
    assert "mine: the file was replaced; serving the new model" in lines


def test_a_client_that_breaks_http_after_its_answer_leaves_no_traceback(model_file: Path) -> None:
    head = "POST /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(model_file) as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
            client.sendall(head.encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 405")
            client.sendall(b"no length\r\n")
            while client.recv(1000):
                pass
        process.send_signal(signal.SIGTERM)
        _, lines = process.communicate(timeout=SECONDS)
    assert lines.count("\n") == START_LINES, lines


def test_too_many_connections_are_reported_in_one_line(model_file: Path) -> None:
    with serving(model_file) as (process, port), ExitStack() as stack:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (20, 20))
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SECONDS))
        assert process.stderr is not None
        for _ in range(START_LINES):
            process.stderr.readline()
        assert process.stderr.readline() == "charlm: server: [Errno 24] Too many open files\n"
        stack.close()
        with ask(port, "GET /health") as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=SECONDS)[1] == ""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_clients_that_leave_in_the_middle_of_an_answer_leave_no_lines(
    stream: bool, trained_run: Path
) -> None:
    fields = {
        "prompt": "The " * 128,
        "n": 128,
        "max_tokens": 0,
        "echo": True,
        "logprobs": 0,
        "stream": stream,
    }
    body = json.dumps(fields).encode()
    headers = f"Host: localhost\r\nContent-Length: {len(body)}"
    head = f"POST /v1/completions HTTP/1.1\r\n{headers}\r\n\r\n".encode()
    no_linger = struct.pack("ii", 1, 0)  # closing resets the connection
    with serving(trained_run) as (process, port):
        for _ in range(10):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
                client.connect(("127.0.0.1", port))
                client.sendall(head + body)
                assert client.recv(100).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        _, lines = process.communicate(timeout=SECONDS)
    assert lines.count("\n") == START_LINES, lines
