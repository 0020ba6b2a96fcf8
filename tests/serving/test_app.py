"""The routes and models of the server, who may use it, and what it refuses."""

import asyncio
import json
import logging
import os
import re
import signal
import socket
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from threading import Event as Flag
from threading import Thread, Timer
from typing import Any

import pytest
from models import make_random_model

pytest.importorskip("starlette", reason="missing: starlette")
pytest.importorskip("uvicorn", reason="missing: uvicorn")

import uvicorn
from h11 import LocalProtocolError
from serving.client import Answer, ask, serving
from starlette.types import Receive, Scope, Send

import charlm
from charlm.core.model_file import TrainedModel, read_model, write_model
from charlm.errors import CharlmError
from charlm.events import Event, Note
from charlm.serving import server
from charlm.serving.server import ServedModel, listen, make_app, open_models

SITE = "https://site.example"
MIB = 1 << 20


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServedModel]:
    """Return two models, a and b."""
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / "a.safetensors", folder / "b.safetensors"]
    for seed, path in enumerate(paths):
        write_model(path, make_random_model(seed=seed))
    return open_models(paths)


@pytest.fixture(scope="module")
def port(models: dict[str, ServedModel]) -> Iterator[int]:
    """Serve both models to the tests that need no server of their own."""
    with serving(make_app(models, allow_hosts=["my.example"], allow_origins=[SITE])) as port:
        yield port


@pytest.fixture(scope="module")
def locked_port(models: dict[str, ServedModel]) -> Iterator[int]:
    """Serve both models with the key `secret`."""
    with serving(make_app(models, key="secret", allow_origins=["*"])) as port:
        yield port


def complete(port: int, **fields: Any) -> Answer:
    return ask(port, "POST /v1/completions", fields)


def test_all_models_are_listed(port: int, models: dict[str, ServedModel]) -> None:
    listed = ask(port, "GET /v1/models").json
    seconds = {name: model.modified // 10**9 for name, model in models.items()}
    entries = [
        {"id": name, "object": "model", "created": seconds[name], "owned_by": "charlm"}
        for name in ("a", "b")
    ]
    assert listed == {"object": "list", "data": entries}


@pytest.mark.parametrize(("path", "name"), [("/", "a"), ("/a", "a"), ("/b", "b")])
def test_each_model_has_a_page(
    path: str, name: str, port: int, models: dict[str, ServedModel]
) -> None:
    answer = ask(port, f"GET {path}")
    assert (answer.status, answer.body) == (200, models[name].page)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(("model", "name"), [(None, "a"), ("b", "b")])
def test_the_named_or_first_model_answers(model: str | None, name: str, port: int) -> None:
    answer = complete(port, model=model).json
    assert (answer["object"], answer["model"]) == ("text_completion", name)


def test_a_streamed_answer_is_a_row_of_events(port: int) -> None:
    answer = complete(port, max_tokens=40, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, *_, last, end = answer.body.decode().split("\n\n")
    assert json.loads(first.removeprefix("data: "))["object"] == "text_completion"
    assert (last, end) == ("data: [DONE]", "")


def test_a_short_request_does_not_wait_for_long_ones(port: int) -> None:
    order = []

    def generate(length: int) -> None:
        assert complete(port, max_tokens=length).status == 200
        order.append(length)

    with ThreadPoolExecutor() as pool:
        long = [pool.submit(generate, 10_000) for _ in range(4)]
        pool.submit(generate, 1).result()
    assert all(future.result() is None for future in long)
    assert order[0] == 1


def test_an_answer_that_nobody_waits_for_stops(models: dict[str, ServedModel]) -> None:
    messages = [{"type": "http.request", "body": b'{"max_tokens": 60000}'}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/v1/completions"
    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    asyncio.run(make_app(models)(scope, receive, send))
    assert json.loads(sent[1]["body"])["choices"] == []


# Errors


@pytest.mark.parametrize(
    ("request_line", "body", "status", "message"),
    [
        ("GET /other", None, 404, "model: found 'other'; this server has a, b"),
        ("POST /v1/completions", {"model": "\u202e"}, 404, r"model: found '\\u202e'"),
        ("GET /a/b", None, 404, "Not Found"),
        ("GET /v1/completions", None, 405, "Method Not Allowed"),
        ("POST /v1/completions", {"n": 0}, 400, "n: found 0; must be greater than or equal to 1"),
        ("POST /v1/completions", {"presence_penalty": 2}, 400, "penalty: found 2; must be 0"),
        ("POST /v1/completions", b" " * MIB, 400, "Invalid JSON"),
        ("POST /v1/completions", b" " * (MIB + 1), 413, "the body has more than 1,048,576 bytes"),
    ],
)
def test_an_error_has_a_status_and_a_message(
    request_line: str, body: Any, status: int, message: str, port: int
) -> None:
    answer = ask(port, request_line, body)
    assert answer.status == status
    assert ("connection" in answer.headers) == (status == 413)
    assert re.search(message, answer.message)


def test_a_body_without_end_closes_the_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        client.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        chunks = repeat(b"10000\r\n" + b" " * 65_536 + b"\r\n", 1000)
        with pytest.raises(ConnectionError):
            deque(map(client.sendall, chunks))
    assert ask(port, "GET /health").status == 200


class BrokenModel(ServedModel):
    """A model with a defect."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def refresh(self) -> None:
        """Fail."""
        raise self.error


def test_an_unexpected_error_is_reported_in_one_line_unless_the_client_violates_http() -> None:
    notes: list[Event] = []
    errors = {"a": ZeroDivisionError("\x1b"), "b": LocalProtocolError("by the client")}
    models = {name: BrokenModel(error) for name, error in errors.items()}
    with serving(make_app(models, on_event=notes.append)) as port:
        complete(port, model="b")
        answer = complete(port)
        assert (answer.status, answer.message) == (500, "internal server error")
    assert notes == [Note(r"POST /v1/completions: ZeroDivisionError('\x1b')")]


# Access


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("my.example", 200),
        ("evil.example", 400),
        ("127.0.0.1.nip.io", 400),
        ("", 400),
        ("[::1", 400),
    ],
)
def test_only_known_hosts_are_answered(host: str, status: int, port: int) -> None:
    assert ask(port, "GET /health", host=host).status == status


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer secret", 200),
        ("", 401),
        ("Bearer secret2", 401),
        ("Bearer s\xe9cret", 401),
        ("Basic secret", 401),
    ],
)
def test_a_server_with_a_key_needs_it(authorization: str, status: int, locked_port: int) -> None:
    answer = ask(locked_port, "GET /a", authorization=authorization)
    assert answer.status == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.message == "Authorization: must be Bearer and the key of this server"


def test_health_needs_no_key(locked_port: int) -> None:
    answer = ask(locked_port, "GET /health")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


def test_a_browser_does_not_know_the_key_so_any_host_is_answered(locked_port: int) -> None:
    bearer = {"authorization": "Bearer secret"}
    assert ask(locked_port, "GET /v1/models", host="evil.example", **bearer).status == 200


@pytest.mark.parametrize(("origin", "allowed"), [(SITE, SITE), ("https://other.example", None)])
def test_only_the_pages_of_an_allowed_site_can_read_answers(
    origin: str, allowed: str | None, port: int
) -> None:
    answer = ask(port, "GET /v1/models", origin=origin)
    assert answer.headers.get("access-control-allow-origin") == allowed


def test_a_browser_may_ask_without_the_key(locked_port: int) -> None:
    answer = ask(
        locked_port,
        "OPTIONS /v1/completions",
        origin=SITE,
        access_control_request_method="POST",
        access_control_request_headers="authorization",
    )
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert answer.headers["access-control-allow-headers"] == "authorization"


@pytest.mark.parametrize("key", ["", " ", "a\nb", "a "])
def test_a_key_that_no_client_can_send_is_refused(key: str) -> None:
    make_app({}, key="a b")
    with pytest.raises(CharlmError, match=r"^CHARLM_API_KEY: the key is empty, has a line break"):
        make_app({}, key=key)


@pytest.mark.parametrize("host", ["", "https://a.example", "a.example:80", "::1", "a*", "a b"])
def test_only_a_host_without_a_port_can_be_allowed(host: str) -> None:
    make_app({}, allow_hosts=["a.example", "*", "*.a.example", "[::1]"])
    with pytest.raises(CharlmError, match=r"^host: found .*; must be a name or an address"):
        make_app({}, allow_hosts=[host])


@pytest.mark.parametrize("origin", ["", "a.example", "https://", "https://a.example/"])
def test_only_a_site_can_be_allowed(origin: str) -> None:
    make_app({}, allow_origins=["https://a.example:8443", "*", "chrome-extension://abc"])
    with pytest.raises(CharlmError, match=r"^origin: found .*; must be a site without a path"):
        make_app({}, allow_origins=[origin])


def test_a_connection_sends_small_answers_immediately() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY on no other"


# The server


async def send_much(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": bytes(64 * MIB)})  # more than buffers hold


def test_a_stopped_server_closes_the_connection_of_a_client_that_does_not_read() -> None:
    config = uvicorn.Config(
        send_much,
        http="h11",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=0,
    )
    stopped = server.Server(config)
    with listen("127.0.0.1", 0) as listener:
        thread = Thread(target=stopped.run, kwargs={"sockets": [listener]})
        thread.start()
        with socket.create_connection(listener.getsockname(), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.recv(1)
            stopped.should_exit = True
            thread.join()
    assert not stopped.server_state.connections


def test_serve_limits_connections_logs_requests_and_stops_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "a.safetensors", make_random_model())
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(server, "DRAIN_SECONDS", 1)
    monkeypatch.setattr(logging, "raiseExceptions", True)  # so that it is restored
    found: list[int] = []
    clients = ExitStack()

    def connect(port: int) -> socket.socket:
        return clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))

    def use(url: str) -> None:
        port = int(url.rpartition(":")[2])
        client = connect(port)
        found.append(ask(port, "GET /health", host="0.0.0.0").status)
        connect(port)
        found.append(ask(port, "GET /health").status)
        body = b'{"max_tokens": 65536, "logprobs": 1, "stream": true}'  # more than buffers hold
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % len(body) + body)
        client.recv(1)
        os.kill(os.getpid(), signal.SIGINT)

    def announce(url: str) -> None:
        Thread(target=use, args=[url]).start()

    path = tmp_path / "requests.log"
    too_late = Timer(20, clients.close)
    too_late.start()
    with clients, pytest.raises(KeyboardInterrupt):
        charlm.serve(
            tmp_path / "a.safetensors",
            host="0.0.0.0",
            port=0,
            log=path,
            announce=announce,
        )
    assert too_late.is_alive()
    too_late.cancel()
    (handler,) = logging.getLogger("uvicorn.access").handlers
    logging.getLogger("uvicorn.access").removeHandler(handler)
    handler.close()
    assert found == [200, 503]
    assert [line[-3:] for line in path.read_text().splitlines()] == ["200", "503", "200"]


# Models whose files are replaced


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a model of step 0."""
    return write(tmp_path / "one.safetensors", step=0)


def write(path: Path, *, step: int) -> Path:
    write_model(path, make_random_model(seed=step, facts={"step": step}))
    os.utime(path, (1, 1))  # the inode alone tells the versions apart
    return path


def step_of(model: ServedModel) -> int:
    """Return the step of the newest version of a model."""
    asyncio.run(model.refresh())
    step: int = model.trained.facts["step"]
    return step


def test_a_replaced_model_is_read_again(path: Path) -> None:
    notes: list[Event] = []
    model = ServedModel("m", path, on_event=notes.append)
    assert step_of(model) == 0
    page = model.page
    write(path, step=7)
    assert (step_of(model), step_of(model)) == (7, 7)
    assert model.page != page
    assert notes == [Note("m: the file has changed; serving the new model")]


def test_the_newest_of_two_files_is_served(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ServedModel("m", path)
    older_is_read, newer_is_served = Flag(), Flag()

    def read_slowly(file: Path) -> TrainedModel:
        trained = read_model(file)
        if trained.facts["step"] == 1:
            older_is_read.set()
            newer_is_served.wait(30)
        return trained

    async def replace_twice() -> None:
        older = asyncio.create_task(model.refresh())
        await asyncio.to_thread(older_is_read.wait)
        write(path, step=2)
        await model.refresh()
        newer_is_served.set()
        await older

    monkeypatch.setattr(server, "read_model", read_slowly)
    write(path, step=1)
    asyncio.run(replace_twice())
    assert model.trained.facts["step"] == 2


@pytest.mark.parametrize("data", [b"", None], ids=["damaged", "missing"])
def test_an_unusable_file_is_reported_once(data: bytes | None, path: Path) -> None:
    notes: list[Event] = []
    (model,) = open_models([path], on_event=notes.append).values()
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    assert (step_of(model), step_of(model), model.modified) == (0, 0, 10**9)
    (note,) = notes
    assert isinstance(note, Note)
    assert note.message.startswith("one: the file has changed; still serving the old model: ")
    write(path, step=7)
    assert step_of(model) == 7
