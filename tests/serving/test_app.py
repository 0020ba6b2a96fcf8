"""The application without a network: what it answers to each request, and what guards it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="missing: starlette")
pytest.importorskip("uvicorn", reason="missing: uvicorn")

from starlette.types import ASGIApp, Receive, Scope, Send

from charlm.network.model_file import TrainedModel
from charlm.serving.answers import ServedModel
from charlm.serving.guard import Guard
from charlm.serving.server import make_app

Found = tuple[int, dict[str, str], Any]


async def ask(app: ASGIApp, request: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Found:
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


def guarded(trained: Sequence[TrainedModel], *, key: str | None = None, said: list[str] | None = None) -> Guard:
    """Return an application that serves models a, b, ..."""
    models = {name: ServedModel(name, each, 9, name.encode()) for name, each in zip("ab", trained, strict=False)}
    return Guard(make_app(models, ([] if said is None else said).append), host="localhost", key=key)


def test_each_model_has_a_page_and_an_entry_and_writes(trained: TrainedModel) -> None:
    app = guarded([trained, replace(trained, vocabulary=replace(trained.vocabulary))])
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


@pytest.mark.parametrize(
    ("request_line", "body", "headers", "status", "code"),
    [
        *(("GET /other", b"", {}, 404, "model_not_found"), ("GET /v1/models/other", b"", {}, 404, "model_not_found")),
        *(("GET /a/b", b"", {}, 404, None), ("GET /v1/completions", b"", {}, 405, None)),
        ("POST /v1/completions", b'{"model": "\\u202e"}', {}, 404, "model_not_found"),
        ("POST /v1/completions", b" " * (1 << 20), {}, 400, None),
        ("POST /v1/completions", b" " * ((1 << 20) + 1), {}, 413, "body_too_large"),
        ("GET /", b"", {"host": "evil.example"}, 403, "host_not_allowed"),
        ("GET /", b"", {"origin": "null"}, 403, "origin_not_allowed"),
    ],
)
def test_a_wrong_request_is_refused_with_an_error_object(
    *, request_line: str, body: bytes, headers: dict[str, str], status: int, code: str | None, trained: TrainedModel
) -> None:
    found, answered, answer = asyncio.run(ask(guarded([trained]), request_line, body, headers))
    assert (found, answer["error"]["type"], answer["error"]["code"]) == (status, "invalid_request_error", code)
    assert answer["error"]["message"].isprintable()
    assert "access-control-allow-origin" not in answered


def test_a_request_without_the_key_and_weights_that_are_not_finite_are_refused(trained: TrainedModel) -> None:
    broken = replace(trained, parameters=replace(trained.parameters, logits_bias=np.full(5, np.nan, np.float32)))
    app, key = guarded([broken], key="secret"), {"authorization": "Bearer secret"}
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
