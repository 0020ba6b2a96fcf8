"""Answers in Starlette: JSON, errors, streams of events, and clients that go before they are done."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from charlm.serving.requests import RequestError

RETRY_SECONDS = "1"
EVENT_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}


def json_response(content: Any, status: int = 200) -> Response:
    """Return an answer that is a JSON value; bytes are JSON already."""
    if not isinstance(content, bytes):
        content = json.dumps(content, separators=(",", ":"))  # in ASCII: a message may quote half of a surrogate pair
    return Response(content, status, media_type="application/json", headers={"Cache-Control": "no-store"})


def error_response(error: RequestError) -> Response:
    """Return the answer to a request that is refused."""
    response = json_response(error.to_json(), error.status)
    if error.status == 503:
        response.headers["Retry-After"] = RETRY_SECONDS
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.status in {408, 413}:
        response.headers["Connection"] = "close"  # the rest of the body is not read
    return response


def from_http(error: HTTPException) -> RequestError:
    """Return the refusal for an error of Starlette's own, such as a path that does not exist."""
    messages = {404: "no such path", 405: "this path takes another method"}
    return RequestError(error.status_code, f"{messages.get(error.status_code, error.detail)}; see docs/serving.md")


async def unless_disconnected(answer: Awaitable[Response], request: Request) -> Response | None:
    """Wait for an answer; if the client goes before that, give it up and return None."""
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.create_task(_wait_for_disconnect(request.receive))
    await _first_of(answering, leaving)
    return None if answering.cancelled() else answering.result()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*futures: "asyncio.Future[Any]") -> None:
    """Wait until one of several is done, and cancel the others; if this is cancelled, cancel them all."""
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in futures:
            if not future.done():
                future.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await future


class EventStream(Response):
    """An answer that is sent event by event; it ends when the client goes or does not read.

    Args:
        events: The events.
        sources: What the events are made from, and is closed with them: closing a generator that has not begun does not
            reach what it iterates over.
        write_seconds: How long a client may leave an event unread.

    """

    def __init__(self, events: AsyncGenerator[bytes], sources: AsyncGenerator[Any], *, write_seconds: float) -> None:
        super().__init__(headers=EVENT_HEADERS)
        del self.headers["content-length"]
        self._events, self._sources, self._write_seconds = events, sources, write_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and the events, as ASGI asks for it."""
        async with contextlib.aclosing(self._sources), contextlib.aclosing(self._events):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            sending = asyncio.create_task(self._send_events(send))
            leaving = asyncio.create_task(_wait_for_disconnect(receive))
            await _first_of(sending, leaving)
        if not sending.cancelled():
            sending.result()

    async def _send_events(self, send: Send) -> None:
        with contextlib.suppress(TimeoutError):
            async for event in self._events:
                async with asyncio.timeout(self._write_seconds):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
