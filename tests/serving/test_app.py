"""Streams of events: closed with all that they are made from, however they end."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from serving.conftest import put_forward, run_forward

pytestmark = pytest.mark.slow


def test_the_source_of_a_client_that_does_not_read_is_closed_after_a_while() -> None:
    pytest.importorskip("starlette", reason="missing: starlette")
    from charlm.serving.app import EventStream

    closed: list[bool] = []

    async def pieces() -> AsyncGenerator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)
                yield b"piece"
        finally:
            closed.append(True)

    async def events(source: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for piece in source:
            yield piece

    async def wait() -> Any:
        await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            put_forward(3000)
            await wait()

    async def answer() -> None:
        source = pieces()
        await EventStream(events(source), source, write_seconds=30)({}, wait, send)

    run_forward(answer())
    assert closed == [True]


NO_BODY = {"type": "http.request", "body": b"", "more_body": False}


def call(app: Any, line: str, sent: list[Any], *, receive: Callable[[], Any] = lambda: NO_BODY) -> None:
    """Make a request, "METHOD PATH"; `sent` takes the messages of the answer."""
    method, path = line.split()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}

    async def next_message() -> Any:
        return receive()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, next_message, send))


def test_an_unexpected_error_is_told_to_the_user_and_not_to_the_client() -> None:
    pytest.importorskip("starlette", reason="missing: starlette")
    from charlm.serving.app import Service, make_app
    from charlm.serving.dispatcher import Dispatcher
    from charlm.serving.requests import ServerLimits

    class Broken(dict[str, Any]):
        """Models of which the list fails."""

        def values(self) -> Any:
            raise ZeroDivisionError("by zero")

    limits = ServerLimits()
    service = Service(Broken(), Dispatcher({}, limits), limits=limits, page=b"")
    said: list[str] = []
    sent: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        call(make_app(service, allowed_hosts=[], say=said.append), "GET /v1/models", sent)
    assert sent[0]["status"] == 500
    assert b"internal server error" in sent[1]["body"]
    assert b"zero" not in sent[1]["body"]
    assert len(said) == 1
    assert said[0].startswith("GET /v1/models: internal server error: ZeroDivisionError: by zero (test_app.py:")


def test_a_body_without_an_end_is_refused_after_a_while() -> None:
    pytest.importorskip("starlette", reason="missing: starlette")
    from charlm.serving.app import Service, make_app
    from charlm.serving.dispatcher import Dispatcher
    from charlm.serving.requests import ServerLimits

    limits = ServerLimits()
    service = Service({}, Dispatcher({}, limits), limits=limits, page=b"")
    sent: list[Any] = []
    part = {"type": "http.request", "body": bytes(limits.body_bytes // 2), "more_body": True}
    parts = iter([part] * 100)
    call(make_app(service, allowed_hosts=[], say=print), "POST /v1/completions", sent, receive=parts.__next__)
    assert sent[0]["status"] == 413
    assert len([*parts]) == 100 - 65  # the first that is more than 32 times the limit


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        *((400, {}), (401, {"www-authenticate": "Bearer"}), (503, {"retry-after": "1"})),
        *((status, {"connection": "close"}) for status in (408, 413)),
    ],
)
def test_a_refusal_says_what_a_client_can_do(status: int, headers: dict[str, str]) -> None:
    pytest.importorskip("starlette", reason="missing: starlette")
    from charlm.serving.app import error_response
    from charlm.serving.requests import RequestError

    found = dict(error_response(RequestError(status, "no")).headers)
    del found["content-length"], found["content-type"]
    assert found == {"cache-control": "no-store", **headers}
