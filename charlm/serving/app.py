"""The routes of the server and its answers, in Starlette: JSON, errors, streams of events."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.errors import CharlmError, short_repr
from charlm.serving.answers import AnswerForm, to_event, to_json
from charlm.serving.guard import check_host, check_key, check_origin
from charlm.serving.requests import (
    MAX_BODY_BYTES,
    ChatRequest,
    CompletionRequest,
    RequestError,
    parse_request,
)
from charlm.serving.writing import Answer, Piece, ServedModel, Turns

MAX_REQUESTS = 256
"""How many requests are answered at once, however many clients there are."""
MAX_SECONDS = 300.0
"""How long a request may take, from its head to the end of its answer."""
PAGE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # beside the policy in the page, which cannot say this
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
NO_STORE = {"Cache-Control": "no-store"}


class Service:
    """The handlers of the routes.

    Args:
        models: The models by name, at least one; a request that names none gets the first.

    """

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models, self._turns = models, Turns()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.show_page),
            Route("/{name}", self.show_page),
            Route("/v1/models", self.list_models),
            Route("/v1/models/{name}", self.show_model),
            Route("/v1/completions", partial(self.complete, CompletionRequest), methods=["POST"]),
            Route("/v1/chat/completions", partial(self.complete, ChatRequest), methods=["POST"]),
        ]

    async def show_page(self, request: Request) -> Response:
        """GET /NAME: the page for writing with a model; GET /: with the first one."""
        model = self._find(request.path_params.get("name"))
        return Response(model.page, media_type="text/html", headers=PAGE_HEADERS)

    async def list_models(self, _: Request) -> Response:
        """GET /v1/models: the models."""
        return json_response({"object": "list", "data": [_describe(model) for model in self._models.values()]})

    async def show_model(self, request: Request) -> Response:
        """GET /v1/models/NAME: one model."""
        return json_response(_describe(self._find(request.path_params["name"])))

    async def complete(self, kind: type[CompletionRequest] | type[ChatRequest], request: Request) -> Response:
        """POST /v1/completions and /v1/chat/completions."""
        wanted: CompletionRequest | ChatRequest = parse_request(kind, await _read_body(request))  # type: ignore[type-var]
        model = self._find(wanted.model)
        answer = Answer(model, wanted, self._turns)
        form = AnswerForm(
            kind="chat" if isinstance(wanted, ChatRequest) else "completion",
            model=model.name,
            has_logprobs=wanted.likeliest is not None,
            includes_usage=wanted.stream_options.include_usage,
        )
        if wanted.stream:
            return StreamingResponse(_events(answer, form), media_type="text/event-stream", headers=NO_STORE)
        texts: list[list[Piece]] = [[] for _ in range(answer.count)]
        async for index, piece in answer.pieces():
            texts[index].append(piece)
            if await request.is_disconnected():
                raise ClientDisconnect
        return json_response(form.whole(texts, answer.usage()))

    def _find(self, name: str | None) -> ServedModel:
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            message = f"model: found {short_repr(name)}; this server has {', '.join(self._models)}"
            raise RequestError(404, message, param="model", code="model_not_found")
        return self._models[name]


def _describe(model: ServedModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "charlm"}


async def _read_body(request: Request) -> bytes:
    """Return the body; one that is too large is read to its end, so that the client sees the refusal."""
    size, parts = 0, []
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
    if size > MAX_BODY_BYTES:
        raise RequestError(413, f"the body has more than {MAX_BODY_BYTES:,} bytes", code="body_too_large")
    return b"".join(parts)


async def _events(answer: Answer, form: AnswerForm) -> AsyncIterator[bytes]:
    yield form.opening_events(answer.count)
    try:
        async for index, piece in answer.pieces():
            yield form.event(index, piece)
    except CharlmError as error:
        yield to_event(_unusable(error).to_json())
        return
    yield form.closing_events(answer.usage())


def json_response(content: Any, status: int = 200) -> Response:
    """Return an answer that is a JSON value."""
    return Response(to_json(content), status, media_type="application/json", headers=NO_STORE)


def error_response(error: RequestError) -> Response:
    """Return the answer to a request that is refused."""
    response = json_response(error.to_json(), error.status)
    if error.status == 429:
        response.headers["Retry-After"] = "1"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _unusable(error: CharlmError) -> RequestError:
    return RequestError(422, str(error), code="unusable_model")


def _from_http(error: HTTPException) -> RequestError:
    """Return the refusal for an error of Starlette's own, such as a path that does not exist."""
    messages = {404: "no such path", 405: "this path takes another method"}
    return RequestError(error.status_code, f"{messages.get(error.status_code, error.detail)}; see docs/serving.md")


class _Guard:
    """What happens to every request before and after its handler."""

    def __init__(
        self, app: ASGIApp, allowed_hosts: Sequence[str], key: str | None, say: Callable[[str], object]
    ) -> None:
        self._app, self._allowed_hosts, self._key, self._say = app, allowed_hosts, key, say
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        has_begun = False

        async def send_safely(message: Message) -> None:
            """Send a message, and forbid the guessing of types."""
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            self._check({name: value.decode("latin-1") for name, value in scope["headers"]})
        except RequestError as error:
            await error_response(error)(scope, receive, send_safely)
            return
        self._requests += 1
        try:
            async with asyncio.timeout(MAX_SECONDS):
                await self._app(scope, receive, send_safely)
        except TimeoutError:
            if not has_begun:  # uvicorn ends an answer that was begun
                refusal = RequestError(503, f"took more than {MAX_SECONDS:g} s", code="too_slow")
                await error_response(refusal)(scope, receive, send_safely)
        except Exception as error:
            self._say(f"{scope['method']} {scope['path']}: internal server error: {_place(error)}")
            raise
        finally:
            self._requests -= 1

    def _check(self, headers: Mapping[bytes, str]) -> None:
        check_host(headers.get(b"host"), self._allowed_hosts)
        check_origin(headers.get(b"origin"), headers[b"host"])
        if self._key is not None:
            check_key(headers.get(b"authorization"), self._key)
        if self._requests == MAX_REQUESTS:
            raise RequestError(429, f"{MAX_REQUESTS} requests are being answered; try again", code="overloaded")


def _place(error: Exception) -> str:
    """Return an error and the line that raised it."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def make_app(
    models: Mapping[str, ServedModel],
    *,
    allowed_hosts: Sequence[str] = (),
    key: str | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> ASGIApp:
    """Return the application.

    Args:
        models: The models by name, at least one.
        allowed_hosts: Names besides localhost by which the server may be reached, in lower case.
        key: What requests must carry; None = nothing.
        say: Takes a line for the user: an error that was not expected.

    """
    app = Starlette(
        routes=Service(models).routes(),
        exception_handlers={
            RequestError: lambda _, error: error_response(error),
            CharlmError: lambda _, error: error_response(_unusable(error)),
            HTTPException: lambda _, error: error_response(_from_http(error)),
            ClientDisconnect: lambda _, error: Response(status_code=499),  # nobody reads it
            Exception: lambda _, error: error_response(RequestError(500, "internal server error")),
        },
    )
    return _Guard(app, allowed_hosts, key, say)
