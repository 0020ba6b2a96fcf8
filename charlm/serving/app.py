"""The routes of the server, in Starlette: from the bytes of a request to the bytes of an answer."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.serving.answers import DONE, Piece, to_event
from charlm.serving.dispatcher import Dispatcher
from charlm.serving.guard import check_host, check_key, check_origin
from charlm.serving.jobs import Plan, ServedModel, plan_request
from charlm.serving.requests import ChatRequest, CompletionRequest, Limits, RequestError, parse_request
from charlm.serving.responses import EventStream, error_response, from_http, json_response, unless_disconnected

PAGE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # beside the policy in the page, which cannot say this
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
DISCARDED_BODIES = 32
"""How many times the largest body is read and dropped before a body that is too large is refused: a client that is
still sending would not see the refusal."""


class Service:
    """The handlers of the routes, and what they share."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        dispatcher: Dispatcher,
        *,
        limits: Limits,
        page: bytes,
    ) -> None:
        self._models, self._dispatcher = models, dispatcher
        self._limits, self._page = limits, page

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.show_page),
            Route("/v1/models", self.list_models),
            Route("/v1/completions", partial(self.complete, CompletionRequest), methods=["POST"]),
            Route("/v1/chat/completions", partial(self.complete, ChatRequest), methods=["POST"]),
        ]

    async def show_page(self, _: Request) -> Response:
        """GET /: the page that writes."""
        return Response(self._page, media_type="text/html", headers=PAGE_HEADERS)

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
        wanted: CompletionRequest | ChatRequest = parse_request(kind, await self._read_body(request))
        plan = plan_request(wanted, self._models, self._limits)
        pieces = self._dispatcher.pieces(plan)
        begin = self._open_stream(plan, pieces) if plan.is_streamed else self._collect(plan, pieces)
        answer = await unless_disconnected(begin, request)
        return Response(status_code=499) if answer is None else answer  # nobody reads it

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

    async def _collect(self, plan: Plan, pieces: AsyncGenerator[tuple[int, Piece]]) -> Response:
        texts: list[list[Piece]] = [[] for _ in plan.texts]
        async for index, piece in pieces:
            texts[index].append(piece)
        parts = []
        for part in plan.form.whole(texts, plan.usage()):
            parts.append(part)
            await asyncio.sleep(0)  # other requests go on meanwhile
        return json_response(b"".join(parts))

    async def _open_stream(self, plan: Plan, pieces: AsyncGenerator[tuple[int, Piece]]) -> Response:
        """Return the stream once it has its first piece: until then it can still be refused."""
        events = self._events(plan, await anext(pieces), pieces)
        return EventStream(events, pieces, write_seconds=self._limits.write_seconds)

    async def _events(
        self, plan: Plan, first: tuple[int, Piece], pieces: AsyncGenerator[tuple[int, Piece]]
    ) -> AsyncGenerator[bytes]:
        yield plan.form.opening_events(len(plan.texts)) + plan.form.event(*first)
        try:
            async for index, piece in pieces:
                yield plan.form.event(index, piece)
        except RequestError as error:
            yield to_event(error.to_json())
            return
        yield plan.form.usage_event(plan.usage()) + DONE


class _Guard:
    """What happens to every request before and after its handler."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str], key: str | None) -> None:
        self._app, self._allowed_hosts, self._key = app, allowed_hosts, key

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
            if self._key is not None and scope["path"] != "/":  # the page says nothing secret
                check_key(headers.get(b"authorization"), self._key)
        except RequestError as error:
            await error_response(error)(scope, receive, send_safely)
            return
        await self._app(scope, receive, send_safely)


def make_app(service: Service, *, allowed_hosts: Sequence[str], key: str | None = None) -> ASGIApp:
    """Return the application.

    Args:
        service: The handlers.
        allowed_hosts: Names besides localhost by which the server may be reached, in lower case.
        key: What requests must bring; None = nothing.

    """
    app = Starlette(
        routes=service.routes(),
        exception_handlers={
            RequestError: lambda _, error: error_response(error),
            HTTPException: lambda _, error: error_response(from_http(error)),
            ClientDisconnect: lambda _, error: Response(status_code=499),
            Exception: lambda _, error: error_response(RequestError(500, "the server has made a mistake")),
        },
    )
    return _Guard(app, allowed_hosts, key)
