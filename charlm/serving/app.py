"""The routes of the server and its answers, in Starlette: JSON, errors, streams of events, clients that go early."""

import asyncio
import contextlib
import json
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.serving.answers import DONE, Piece, to_event
from charlm.serving.dispatcher import Dispatcher
from charlm.serving.guard import check_host, check_key, check_origin
from charlm.serving.jobs import RequestPlan, ServedModel, find_model, plan_request
from charlm.serving.requests import (
    Body,
    ChatRequest,
    CompletionRequest,
    RequestError,
    ServerLimits,
    parse_request,
)

PAGE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # beside the policy in the page, which cannot say this
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
DISCARDED_BODIES = 32
"""How many times the largest body is read and dropped before a body that is too large is refused: a client that is
still sending would not see the refusal."""

SMALL_BODY_BYTES = 16_384
"""The largest body that is parsed in the event loop, within a few milliseconds; the other requests wait for it."""

RETRY_SECONDS = "1"
EVENT_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}


class Service:
    """The handlers of the routes, and what they share."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        dispatcher: Dispatcher,
        *,
        limits: ServerLimits,
    ) -> None:
        self._models, self._dispatcher, self._limits = models, dispatcher, limits

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.show_page),
            Route("/{name}", self.show_page),
            Route("/v1/models", self.list_models),
            Route("/v1/completions", partial(self.complete, CompletionRequest), methods=["POST"]),
            Route("/v1/chat/completions", partial(self.complete, ChatRequest), methods=["POST"]),
        ]

    async def show_page(self, request: Request) -> Response:
        """GET /NAME: the page for writing with a model; GET /: with the first one."""
        model = find_model(request.path_params.get("name"), self._models)
        return Response(model.page, media_type="text/html", headers=PAGE_HEADERS)

    async def list_models(self, _: Request) -> Response:
        """GET /v1/models: the models, with what a request may ask for."""
        limits = {name: getattr(self._limits, name) for name in ("prompt_characters", "tokens", "answer_values")}
        models = [
            {"id": model.name, "object": "model", "created": model.created, "owned_by": "charlm", "limits": limits}
            for model in self._models.values()
        ]
        return json_response({"object": "list", "data": models})

    async def complete(self, kind: type[CompletionRequest] | type[ChatRequest], request: Request) -> Response:
        """POST /v1/completions and /v1/chat/completions: the answer as soon as its status is certain.

        A client that goes before that frees its slots.
        """
        wanted: CompletionRequest | ChatRequest = await self._parse(kind, request)
        plan = plan_request(wanted, self._models, self._limits)
        pieces = self._dispatcher.pieces(plan)
        begin = self._open_stream(plan, pieces) if plan.is_streamed else self._collect(plan, pieces)
        answer = await unless_disconnected(begin, request)
        return Response(status_code=499) if answer is None else answer  # nobody reads it

    async def _parse(self, kind: type[Body], request: Request) -> Body:
        body = await self._read_body(request)
        is_small = len(body) <= SMALL_BODY_BYTES
        return parse_request(kind, body) if is_small else await asyncio.to_thread(parse_request, kind, body)

    async def _read_body(self, request: Request) -> bytes:
        """Return the body; refuse one that is too large or that takes too long to arrive."""
        limit, size, parts = self._limits.body_bytes, 0, []
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size <= limit:
                        parts.append(part)
                    elif size > DISCARDED_BODIES * limit:
                        break
        except TimeoutError:
            raise RequestError(408, f"the body took more than {self._limits.read_seconds:g} s to arrive") from None
        if size > limit:
            raise RequestError(413, f"the body has more than {limit:,} bytes", code="body_too_large")
        return b"".join(parts)

    async def _collect(self, plan: RequestPlan, pieces: AsyncGenerator[tuple[int, Piece]]) -> Response:
        texts: list[list[Piece]] = [[] for _ in plan.texts]
        async for index, piece in pieces:
            texts[index].append(piece)
        parts = []
        for part in plan.form.whole(texts, plan.usage()):
            parts.append(part)
            await asyncio.sleep(0)  # other requests go on meanwhile
        return json_response(b"".join(parts))

    async def _open_stream(self, plan: RequestPlan, pieces: AsyncGenerator[tuple[int, Piece]]) -> Response:
        """Return the stream once it has its first piece: until then it can still be refused."""
        events = self._events(plan, await anext(pieces), pieces)
        return EventStream(events, pieces, write_seconds=self._limits.write_seconds)

    async def _events(
        self, plan: RequestPlan, first: tuple[int, Piece], pieces: AsyncGenerator[tuple[int, Piece]]
    ) -> AsyncGenerator[bytes]:
        yield plan.form.opening_events(len(plan.texts)) + plan.form.event(*first)
        try:
            async for index, piece in pieces:
                yield plan.form.event(index, piece)
        except RequestError as error:
            yield to_event(error.to_json())
            return
        yield plan.form.usage_event(plan.usage()) + DONE


def json_response(content: Any, status: int = 200) -> Response:
    """Return an answer that is a JSON value; bytes are JSON already."""
    if not isinstance(content, bytes):
        content = json.dumps(content, separators=(",", ":"))  # in ASCII: a message may quote an unpaired surrogate
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


class _Guard:
    """What happens to every request before and after its handler."""

    def __init__(
        self, app: ASGIApp, allowed_hosts: Sequence[str], key: str | None, say: Callable[[str], object]
    ) -> None:
        self._app, self._allowed_hosts, self._key, self._say = app, allowed_hosts, key, say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            """Send a message, and forbid the guessing of types."""
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            check_host(headers.get(b"host"), self._allowed_hosts)
            check_origin(headers.get(b"origin"), headers[b"host"])
            if self._key is not None:
                check_key(headers.get(b"authorization"), self._key)
        except RequestError as error:
            await error_response(error)(scope, receive, send_safely)
            return
        try:
            await self._app(scope, receive, send_safely)
        except Exception as error:
            self._say(f"{scope['method']} {scope['path']}: internal server error: {_place(error)}")
            raise  # uvicorn ends an answer that was begun


def _place(error: Exception) -> str:
    """Return an error and the line that raised it."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def make_app(
    service: Service,
    *,
    allowed_hosts: Sequence[str],
    key: str | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> ASGIApp:
    """Return the application.

    Args:
        service: The handlers.
        allowed_hosts: Names besides localhost by which the server may be reached, in lower case.
        key: What requests must carry; None = nothing.
        say: Takes a line for the user: an error that was not expected.

    """
    app = Starlette(
        routes=service.routes(),
        exception_handlers={
            RequestError: lambda _, error: error_response(error),
            HTTPException: lambda _, error: error_response(from_http(error)),
            ClientDisconnect: lambda _, error: Response(status_code=499),
            Exception: lambda _, error: error_response(RequestError(500, "internal server error")),
        },
    )
    return _Guard(app, allowed_hosts, key, say)
