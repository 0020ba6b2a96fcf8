"""Streams of events: closed with all that they are made from, however they end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Send = Callable[[Any], Awaitable[None]]


class Pieces:
    """An endless source, which notes that it was closed."""

    def __init__(self) -> None:
        self.is_closed = False

    async def generate(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)
                yield b"piece"
        finally:
            self.is_closed = True


async def answer(pieces: Pieces, send: Send, *, disconnect_after: float, write_seconds: float = 30) -> None:
    """Send the events of an endless source to a client that goes after some seconds."""
    pytest.importorskip("starlette", reason="missing: starlette")
    from charlm.serving.app import EventStream

    source = pieces.generate()
    await anext(source)

    async def events() -> AsyncGenerator[bytes]:
        async for piece in source:
            yield piece

    async def receive() -> dict[str, str]:
        await asyncio.sleep(disconnect_after)
        return {"type": "http.disconnect"}

    await EventStream(events(), source, write_seconds=write_seconds)({}, receive, send)


@pytest.mark.parametrize("disconnect_after", [0, 0.05])
def test_a_client_that_goes_closes_the_source(disconnect_after: float) -> None:
    pieces = Pieces()

    async def send(_: Any) -> None:
        await asyncio.sleep(0.001)

    asyncio.run(answer(pieces, send, disconnect_after=disconnect_after))
    assert pieces.is_closed


def test_a_client_that_does_not_read_is_given_up_after_a_while() -> None:
    pieces = Pieces()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(3600)

    asyncio.run(answer(pieces, send, disconnect_after=3600, write_seconds=0.1))
    assert pieces.is_closed


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

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def call() -> None:
        await make_app(service, allowed_hosts=[], say=said.append)(scope, receive, send)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "query_string": b"", "headers": headers}
    with pytest.raises(ZeroDivisionError):
        asyncio.run(call())
    assert sent[0]["status"] == 500
    assert b"internal server error" in sent[1]["body"]
    assert b"zero" not in sent[1]["body"]
    assert len(said) == 1
    assert said[0].startswith("GET /v1/models: internal server error: ZeroDivisionError: by zero (test_app.py:")
