"""HTTP server with an OpenAI-compatible API and a web page for each model."""

import asyncio
import ipaddress
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from charlm.checks import check_each, check_range
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, ServerListening, ignore
from charlm.serving.answers import Answer, Chunk, Turnstile, prompt_ids
from charlm.serving.guard import (
    DEFAULT_LIMITS,
    HEADERS,
    HEALTH,
    HOST_NAME,
    PROBLEM,
    Access,
    Limits,
    error_response,
    guarded,
    json_response,
)
from charlm.serving.models import ServedModel, Shelf, open_shelf
from charlm.serving.requests import (
    MAX_PROMPT_CHARACTERS,
    Body,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    RequestError,
    TokenizeRequest,
    parse_request,
)
from charlm.text.vocabulary import END_OF_TEXT, Vocabulary

PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": "frame-ancestors 'none'",  # not allowed in the policy of a page
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
DRAIN_SECONDS = 5
"""Time for pending requests to finish after the server is stopped."""
MAX_HEAD_BYTES = 16_384
SMALL_BODY_BYTES = 8192
"""Size up to which a body is parsed without waiting for other bodies."""
REPEAT_SECONDS = 60.0
"""Time between two reports of the same problem."""


def serve(
    runs: str | Path | Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    allow_hosts: str | Sequence[str] = (),
    allow_origins: str | Sequence[str] = (),
    on_event: OnEvent = ignore,
) -> None:
    """Serve models until Ctrl-C or SIGTERM. Must be called in the main thread.

    Args:
        runs: Runs, model files, or unique parts of names of runs; empty = the newest run.
        host: Address to listen on; other machines can reach any address but loopback.
        port: Port, 0 to 65535; 0 = any free port.
        key: Bearer token that requests need; None = no token.
        allow_hosts: Additional names allowed in the header Host, for example of a proxy.
        allow_origins: Web sites whose pages may use the server, for example https://example.com;
            * = all.
        on_event: Called with ServerListening, RequestAnswered and notes.

    Raises:
        CharlmError: An argument is invalid, there is no such model, a model is damaged, two models
            have the same name, or the address is not available.

    """
    paths = [Path(run) for run in check_each("runs", runs)]
    check_range("port", port, 0, 65535)
    if key is not None:
        _check_key(key)
    if not host:
        raise CharlmError("host: is empty; must be a name or an address, for example 0.0.0.0")
    hosts = check_each("allow_hosts", allow_hosts)
    if HOST_NAME.fullmatch(host):  # addresses in Host are always allowed
        hosts.append(host)
    access = Access(hosts, check_each("allow_origins", allow_origins), key)
    shelf = open_shelf(paths, on_event=on_event)
    with listen(host, port) as listener:
        listener.listen()
        address, bound_port = listener.getsockname()[:2]
        name_in_url = f"[{address}]" if ":" in address else address
        url = f"http://{name_in_url}:{bound_port}"
        if key is None:
            if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
                problem = "other machines can use the server without a key; set CHARLM_API_KEY"
                on_event(Note(f"--host {host}: {problem}"))
            on_event(Note(f"page for browsers: {url}"))  # a browser cannot send a key
        for name in ("uvicorn.error", "asyncio"):  # they log every lost connection
            logging.getLogger(name).setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            guarded(make_app(shelf), access, on_event=on_event),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        listening = ServerListening(url, shelf.names)
        _Server(config, listening, on_event=on_event).run(sockets=[listener])


def _check_key(key: str) -> None:
    if not key or key != key.strip() or not key.isascii() or not key.isprintable():
        raise CharlmError(
            "key (CHARLM_API_KEY): must be printable ASCII without spaces around it; requests "
            "cannot carry other characters"
        )


class _Server(uvicorn.Server):
    """A server that reports when it is ready, and problems outside of requests.

    Without the signal handlers of uvicorn.Server, no signal would stop it.

    Args:
        config: Configuration of uvicorn.
        listening: Event for the moment when the server is ready.
        on_event: Called with this event and with notes.

    """

    def __init__(
        self, config: uvicorn.Config, listening: ServerListening, *, on_event: OnEvent
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._on_event = on_event
        self._reported: dict[str, float] = {}  # when each problem was reported

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        asyncio.get_running_loop().set_exception_handler(self._report)
        await super().startup(sockets)
        self._on_event(self._listening)

    def _report(self, _: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Report an error outside of requests, for which asyncio would print a traceback.

        With too many open files, there are thousands of these errors per second.
        """
        if self.should_exit:  # asyncio may still accept connections on the closed socket
            return
        problem = str(context.get("exception") or context["message"])
        now = time.monotonic()
        if now - self._reported.get(problem, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._reported = {problem: now}
            self._on_event(Note(f"server: {problem}"))


class _Protocol(H11Protocol):
    """The protocol of uvicorn 0.54, but without a second answer if a client violates HTTP."""

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not HTTP, or close the connection during an answer."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Args:
        host: Name or address.
        port: Port, 0 to 65535; 0 = any free port.

    Raises:
        CharlmError: The address is not available on this machine, or in use.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Without an explicit protocol, asyncio delays small answers by 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that is too long
        reason = getattr(error, "strerror", None) or error
        raise CharlmError(f"host {host}, port {port}: cannot listen there: {reason}") from None
    return listener


class Service:
    """Handlers of the routes.

    Args:
        shelf: Models; a request without a name gets the first.
        max_body_bytes: Maximum size of the body of a request.

    """

    def __init__(self, shelf: Shelf, *, max_body_bytes: int) -> None:
        self._shelf = shelf
        self._max_body_bytes = max_body_bytes
        self._turns = Turnstile()
        self._bodies = Turnstile()  # separate, so that texts do not wait for all bodies
        self._page_making = asyncio.Lock()

    async def _parse(self, kind: type[Body], request: Request) -> Body:
        """Read and parse the body of a request; raises RequestError."""
        body = await _read_body(request, max_bytes=self._max_body_bytes)
        if len(body) > SMALL_BODY_BYTES:
            await self._bodies.wait()
        return parse_request(kind, body)

    async def show_health(self, _: Request) -> Response:
        """GET /health."""
        return json_response({"status": "ok"})

    async def show_page(self, request: Request) -> Response:
        """GET /NAME: the page of a model; GET /: the page of the first model."""
        model = await self._shelf.find(request.path_params.get("name"))
        async with self._page_making:  # else every waiting request would make the page in a thread
            page = await asyncio.to_thread(getattr, model, "page")
        is_compressed = _accepts_gzip(request.headers.get("accept-encoding", ""))
        etag = f'"{page.digest}-gzip"' if is_compressed else f'"{page.digest}"'
        headers = PAGE_HEADERS | {"ETag": etag, "Vary": "Accept-Encoding"}
        cached = request.headers.get("if-none-match", "").split(",")
        if etag in [name.strip().removeprefix("W/") for name in cached]:
            return Response(status_code=304, headers=headers)
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        content = page.compressed if is_compressed else page.html
        return Response(content, media_type="text/html", headers=headers)

    async def list_models(self, _: Request) -> Response:
        """GET /v1/models."""
        models = [await self._shelf.find(name) for name in self._shelf.names]
        return json_response({"object": "list", "data": [_describe(model) for model in models]})

    async def show_model(self, request: Request) -> Response:
        """GET /v1/models/NAME."""
        return json_response(_describe(await self._shelf.find(request.path_params["name"])))

    async def complete(
        self, kind: type[CompletionRequest] | type[ChatRequest], request: Request
    ) -> Response:
        """POST /v1/completions and /v1/chat/completions."""
        fields = await self._parse(kind, request)  # type: ignore[type-var]
        answer = Answer(await self._shelf.find(fields.model), fields, turns=self._turns)
        if fields.stream:
            return StreamingResponse(
                _to_lines(answer.events()), media_type="text/event-stream", headers=HEADERS
            )
        texts: list[list[Chunk]] = [[] for _ in range(answer.count)]
        async for index, chunk in answer.chunks():
            texts[index].append(chunk)
            if await request.is_disconnected():
                raise ClientDisconnect
        if fields.logprobs is not None:
            await self._turns.wait()
        return json_response(answer.whole(texts))

    async def describe_tokenizer(self, _: Request) -> Response:
        """GET /tokenizer_info: special tokens of the first model."""
        vocabulary = await self._vocabulary(None)
        end = None if vocabulary.end_of_text_id is None else END_OF_TEXT
        return json_response(
            {"tokenizer_class": "characters", "bos_token": end, "eos_token": end, "pad_token": None}
        )

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize: the ids of a text."""
        fields = await self._parse(TokenizeRequest, request)
        ids = _encode(await self._vocabulary(fields.model), fields.prompt)
        return json_response(
            {"tokens": ids, "count": len(ids), "max_model_len": MAX_PROMPT_CHARACTERS}
        )

    async def detokenize(self, request: Request) -> Response:
        """POST /detokenize: the text of ids."""
        fields = await self._parse(DetokenizeRequest, request)
        vocabulary = await self._vocabulary(fields.model)
        ids = prompt_ids(vocabulary, fields.tokens, field="tokens")
        return json_response({"prompt": vocabulary.decode(ids)})

    async def _vocabulary(self, name: str | None) -> Vocabulary:
        return (await self._shelf.find(name)).trained.vocabulary


def _encode(vocabulary: Vocabulary, text: str) -> list[int]:
    """Return the ids of a text; the name of the end-of-text token has a single id."""
    if text == END_OF_TEXT and vocabulary.end_of_text_id is not None:
        return [vocabulary.end_of_text_id]
    ids: list[int] = vocabulary.encode(text).tolist()
    return ids


def _accepts_gzip(header: str) -> bool:
    """Return whether the header Accept-Encoding allows gzip."""
    for coding in header.lower().split(","):
        name, _, quality = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return not quality or quality.strip("0.") != ""
    return False


def _describe(model: ServedModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "charlm"}


async def _read_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body; read even a large one to its end, so that the client sees the error."""
    body = b""
    async for part in request.stream():
        body += part if len(body) <= max_bytes else b""
    if len(body) > max_bytes:
        message = f"the body has more than {max_bytes:,} bytes"
        raise RequestError(413, message, code="body_too_large")
    return body


async def _to_lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Yield objects as server-sent events, and a last event for the end or an error."""
    last = b"[DONE]"
    try:
        async for event in events:
            yield b"data: " + json.dumps(event).encode() + b"\n\n"
    except CharlmError as error:
        last = bytes(error_response(_unusable(error)).body)
    yield b"data: " + last + b"\n\n"


def _unusable(error: CharlmError) -> RequestError:
    return RequestError(422, str(error), code="unusable_model")


async def _refuse(request: Request, error: Exception) -> Response:
    """Return the answer for an exception. If this were not async, it would run in a thread."""
    match error:
        case RequestError():
            return error_response(error)
        case CharlmError():
            return error_response(_unusable(error))
        case HTTPException():
            headers = error.headers or {}
            allowed = headers.get("Allow")
            message = f"{error.detail}; use {allowed}" if allowed else error.detail
            response = error_response(RequestError(error.status_code, message))
            response.headers.update(headers)
            return response
        case ClientDisconnect():
            return Response(status_code=499)  # no client reads it
    request.scope[PROBLEM] = repr(error)
    return error_response(RequestError(500, "internal server error"))


def make_app(shelf: Shelf, limits: Limits = DEFAULT_LIMITS) -> Starlette:
    """Return the application that serves models; a request without a name gets the first."""
    service = Service(shelf, max_body_bytes=limits.body_bytes)
    app = Starlette(
        routes=[
            Route(HEALTH, service.show_health),
            Route("/tokenizer_info", service.describe_tokenizer),
            Route("/tokenize", service.tokenize, methods=["POST"]),
            Route("/detokenize", service.detokenize, methods=["POST"]),
            Route("/v1/models", service.list_models),
            Route("/v1/models/{name}", service.show_model),
            Route(
                "/v1/completions", partial(service.complete, CompletionRequest), methods=["POST"]
            ),
            Route("/v1/chat/completions", partial(service.complete, ChatRequest), methods=["POST"]),
            Route("/", service.show_page),
            Route("/{name}", service.show_page),
        ],
        exception_handlers={
            RequestError: _refuse,
            CharlmError: _refuse,
            HTTPException: _refuse,
            ClientDisconnect: _refuse,
            Exception: _refuse,
        },
    )
    app.router.redirect_slashes = False  # behind a proxy with TLS, a redirect would lead to http://
    return app
