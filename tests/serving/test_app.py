"""The application without a network: what it answers to each request, what guards it, and what `serve` checks."""

import asyncio
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import with_tensors

pytest.importorskip("starlette", reason="missing: starlette")
pytest.importorskip("uvicorn", reason="missing: uvicorn")

from starlette.types import ASGIApp, Receive, Scope, Send

from charlm.errors import CharlmError
from charlm.events import Event, OpenToNetwork, ServerListening
from charlm.network.model_file import TrainedModel
from charlm.serving.answers import ServedModel
from charlm.serving.guard import Guard, check_head
from charlm.serving.requests import RequestError
from charlm.serving.server import listen, make_app, serve


async def ask(
    app: ASGIApp, request: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    """Return the status, the headers and the body of the answer to a request such as GET /."""
    method, path = request.split()
    named = {"host": "localhost", **(headers or {})}
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "http_version": "1.1"}
    scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    sent, unread = list[Any](), [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return unread.pop() if unread else await asyncio.Event().wait()  # the client stays

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message["body"] for message in sent[1:])
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, json.loads(content) if found["content-type"] == "application/json" else content


def guarded(*trained: TrainedModel, key: str | None = None) -> Guard:
    """Return an application that serves models a, b, ..."""
    models = {name: ServedModel(name, each, 9, name.encode()) for name, each in zip("ab", trained, strict=False)}
    return Guard(make_app(models, lambda _: None), host="localhost", key=key)


def test_each_model_has_a_page_and_an_entry_and_writes(trained: TrainedModel) -> None:
    app = guarded(trained, replace(trained, vocabulary=replace(trained.vocabulary)))
    entries = [{"id": name, "object": "model", "created": 9, "owned_by": "charlm"} for name in "ab"]
    assert asyncio.run(ask(app, "GET /v1/models"))[2] == {"object": "list", "data": entries}
    assert asyncio.run(ask(app, "GET /v1/models/b"))[2] == entries[1]
    for path, page in (("/", b"a"), ("/a", b"a"), ("/b", b"b")):
        status, headers, found = asyncio.run(ask(app, f"GET {path}"))
        assert (status, found, headers["content-type"]) == (200, page, "text/html; charset=utf-8")
        expected = {"content-security-policy": "frame-ancestors 'none'", "x-content-type-options": "nosniff"}
        assert headers == {**headers, **expected, "referrer-policy": "no-referrer", "cache-control": "no-cache"}
    for model, name in ((None, "a"), ("b", "b")):
        body = json.dumps({"model": model, "max_tokens": 3}).encode()
        status, headers, answer = asyncio.run(ask(app, "POST /v1/completions", body))
        assert (status, answer["model"], answer["object"]) == (200, name, "text_completion")
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    body = b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 3, "stream": true}'
    _, headers, events = asyncio.run(ask(app, "POST /v1/chat/completions", body))
    assert headers["content-type"].startswith("text/event-stream")
    lines = events.decode().split("\n\n")
    assert json.loads(lines[0].removeprefix("data: "))["object"] == "chat.completion.chunk"
    assert lines[-2:] == ["data: [DONE]", ""]


def test_a_wrong_request_is_refused_with_an_error_object(trained: TrainedModel) -> None:
    requests: tuple[tuple[str, bytes, dict[str, str], int, str | None], ...] = (
        *(("GET /other", b"", {}, 404, "model_not_found"), ("GET /v1/models/other", b"", {}, 404, "model_not_found")),
        *(("GET /a/b", b"", {}, 404, None), ("GET /v1/completions", b"", {}, 405, None)),
        ("POST /v1/completions", b'{"model": "\\u202e"}', {}, 404, "model_not_found"),
        ("POST /v1/completions", b" " * (1 << 20), {}, 400, None),
        ("POST /v1/completions", b" " * ((1 << 20) + 1), {}, 413, "body_too_large"),
        ("GET /", b"", {"host": "evil.example"}, 403, "host_not_allowed"),
        ("GET /", b"", {"origin": "null"}, 403, "origin_not_allowed"),
    )
    for request, body, headers, status, code in requests:
        found, answered, answer = asyncio.run(ask(guarded(trained), request, body, headers))
        error = answer["error"]
        assert (found, error["type"], error["code"]) == (status, "invalid_request_error", code), request
        assert error["message"].isprintable()
        assert "access-control-allow-origin" not in answered


def test_a_request_without_the_key_and_weights_that_are_not_finite_are_refused(trained: TrainedModel) -> None:
    nan = {"logits.bias": np.full(5, np.nan, np.float32)}
    broken = replace(trained, parameters=with_tensors(trained.parameters, nan))
    app, key = guarded(broken, key="secret"), {"authorization": "Bearer secret"}
    for request in ("GET /", "GET /v1/models", "POST /v1/completions"):
        status, headers, _ = asyncio.run(ask(app, request))
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert asyncio.run(ask(app, "GET /", headers=key))[0] == 200
    status, _, answer = asyncio.run(ask(app, "POST /v1/completions", b"{}", key))
    assert (status, answer["error"]["code"]) == (422, "unusable_model")
    _, _, events = asyncio.run(ask(app, "POST /v1/completions", b'{"stream": true}', key))
    assert json.loads(events.removeprefix(b"data: "))["error"]["code"] == "unusable_model"


def test_256_requests_are_answered_at_once_and_their_places_are_free_again() -> None:
    async def try_all() -> list[int]:
        release = asyncio.Event()

        async def wait(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})

        app = Guard(wait, host="localhost", key=None)
        waiting = [asyncio.create_task(ask(app, "GET /")) for _ in range(256)]
        await asyncio.sleep(0)
        status, headers, answer = await ask(app, "GET /")
        assert (headers["retry-after"], answer["error"]["code"]) == ("1", "overloaded")
        release.set()
        return [status, *(found[0] for found in await asyncio.gather(*waiting)), (await ask(app, "GET /"))[0]]

    assert asyncio.run(try_all()) == [429, *[200] * 257]


# Host, Origin and the key


OTHERS = ("evil.example", "localhost.evil.example", "texts.example.org", "127.0.0.1.nip.io", "", ":80", "[::1", "[]")


def status_of(headers: dict[str, str], key: str | None, *, host: str = "other.example.org") -> int:
    """Return the status with which a request is answered; 0 = the key is told."""
    try:
        check_head(headers, host=host, key=key)
    except RequestError as error:
        return 0 if "secret" in error.message else error.status
    return 200


def test_only_addresses_localhost_and_the_name_of_the_server_are_answered_or_those_who_have_the_key() -> None:
    own = ("localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000", "10.1.2.3", "texts.example.org.", "localhost.")
    for name in own:
        for headers in ({"host": name}, {"host": name, "origin": f"http://{name}"}):
            assert status_of(headers, None, host="Texts.example.org") == 200, headers
    for name in OTHERS:  # another site may have this name, and rebind it
        assert status_of({"host": name}, None) == 403, name
        assert status_of({"host": name, "authorization": "bearer secret"}, "secret") == 200, name


def test_pages_of_other_sites_and_requests_without_the_key_are_refused() -> None:
    for origin in ("null", "http://evil.example", "http://localhost", "http://["):
        assert status_of({"host": "localhost:8000", "origin": origin}, None) == 403, origin
    assert status_of({"host": "localhost", "origin": "null", "authorization": "Bearer secret"}, "secret") == 403
    assert status_of({"host": "localhost"}, "secret") == 401
    for wrong in ("", "Bearer", "Bearer wrong", "secret", "Bearer secret2", "Bearer s\xe9cret", "Basic secret"):
        assert status_of({"host": "localhost", "authorization": wrong}, "secret") == 401, wrong


# Before it listens


def test_an_open_address_without_a_key_is_warned_of(model_file: Path) -> None:
    warning = OpenToNetwork("0.0.0.0")
    for host, key, expected in (("127.0.0.1", None, []), ("0.0.0.0", "secret", []), ("0.0.0.0", None, [warning])):
        events: list[Event] = []

        def stop_listening(event: Event, events: list[Event] = events) -> None:
            """Note an event, and end the server when it listens."""
            if isinstance(event, ServerListening):
                raise EOFError
            events.append(event)

        with pytest.raises(EOFError):
            serve([model_file], host=host, port=0, key=key, on_event=stop_listening)
        assert events == expected


@pytest.mark.parametrize("key", ["", " secret", "secret\n", "cl\u00e9", "a\tb"])
def test_a_key_that_no_request_can_carry_is_refused_and_not_told(key: str, model_file: Path) -> None:
    with pytest.raises(CharlmError, match=r"^CHARLM_API_KEY: must be printable ASCII") as caught:
        serve([model_file], host="127.0.0.1", port=0, key=key)
    assert not key.strip() or key.strip() not in str(caught.value)


def test_a_connection_sends_small_answers_at_once() -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            assert connection.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY on no other"
