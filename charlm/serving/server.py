"""An HTTP endpoint for trained models, as the OpenAI API has it, and their pages for writing."""

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

from charlm.checks import check_each, check_path, check_text, check_whole
from charlm.errors import CharlmError
from charlm.events import OnEvent, OpenToNetwork, ServerListening, ServerProblem, ignore
from charlm.serving.answers import Answer, Chunk, Turnstile, prompt_ids
from charlm.serving.guard import (
    HEADERS,
    HEALTH,
    HOST_NAME,
    PROBLEM,
    Access,
    error_response,
    guarded,
    json_response,
)
from charlm.serving.models import ServedModel, Shelf, open_shelf
from charlm.serving.requests import (
    MAX_BODY_BYTES,
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

PAGE_HEADERS = (
    HEADERS
    | {
        "Content-Security-Policy": "frame-ancestors 'none'",  # added to the policy in the page, which cannot say this
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
)
DRAIN_SECONDS = 5
"""Time in which requests that were begun can finish after the server is told to end."""
MAX_HEAD_BYTES = 16_384
SMALL_BODY_BYTES = 8192
"""The largest body that is parsed while other bodies wait: in about the time of a turn."""
REPEAT_SECONDS = 60.0
"""The time between two reports of the same problem of the server."""


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
    """Answer requests until Ctrl-C or SIGTERM, then finish those that were begun. Must be called in the main thread.

    A model is read again when its file is replaced.

    Args:
        runs: Runs or model files, or parts of the names of runs; none = the newest run under runs/.
        host: The address to listen at; anything but loopback is open to the network.
        port: 0 to 65535; 0 = any free one.
        key: The key that requests must have, as OpenAI's clients send it; None = no key.
        allow_hosts: Further names that may be in the header Host, for instance that of a proxy.
        allow_origins: Sites whose pages may use the server, such as https://example.com; * = every site.
        on_event: Called with ServerListening, OpenToNetwork, RequestAnswered, ModelReloaded, ModelNotReloaded and
            ServerProblem.

    Raises:
        CharlmError: an argument is wrong, the key cannot occur in a request, there is no model, one is damaged, two
            have the same name, or the address is taken.

    """
    paths = [Path(run) for run in check_each("runs", runs, check_path)]
    check_text("host", host)
    check_whole("port", port, least=0, most=65535)
    if key is not None:
        check_text("key", key)
        if key != key.strip() or not (key.isascii() and key.isprintable() and key):
            problem = (
                "must be printable ASCII without spaces around it; no request can carry another key"
            )
            raise CharlmError(f"key (CHARLM_API_KEY): {problem}")
    if not host:
        raise CharlmError("host: is empty; must be a name or an address, for instance 0.0.0.0")
    own_name = [host] if HOST_NAME.fullmatch(host) else []  # an address in Host is always accepted
    hosts = own_name + check_each("allow_hosts", allow_hosts, check_text)
    access = Access(hosts, check_each("allow_origins", allow_origins, check_text), key)
    shelf = open_shelf(paths, on_event=on_event)
    with listen(host, port) as listener:
        listener.listen()
        address, bound_port = listener.getsockname()[:2]
        if key is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            on_event(OpenToNetwork(host))
        url = f"http://{f'[{address}]' if ':' in address else address}:{bound_port}"
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).setLevel(
                logging.CRITICAL
            )  # not a line for each client that leaves
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
        listening = ServerListening(url, shelf.names, needs_key=key is not None)
        _Server(config, listening, on_event=on_event).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that reports when it listens, and what goes wrong outside of a request.

    No signal would end it without its own handlers.

    Args:
        config: Its settings.
        listening: The event for the moment when it listens.
        on_event: Called with this event, and with ServerProblem.

    """

    def __init__(
        self, config: uvicorn.Config, listening: ServerListening, *, on_event: OnEvent
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._on_event = on_event
        self._reported: dict[str, float] = {}  # when each problem was reported

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        asyncio.get_running_loop().set_exception_handler(self._report)
        await super().startup(sockets)
        self._on_event(self._listening)

    def _report(self, _: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Report an error that no request has had; asyncio would print a traceback, and often.

        When there are too many open files, there are thousands of these errors a second.
        """
        if (
            self.should_exit
        ):  # asyncio may still try to accept connections at a socket that is closed
            return
        problem = str(context.get("exception") or context["message"])
        now = time.monotonic()
        if now - self._reported.get(problem, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._reported = {problem: now}
            self._on_event(ServerProblem(problem))


class _Protocol(H11Protocol):
    """The protocol of uvicorn, without its error when a client breaks HTTP after its answer has begun.

    uvicorn then begins a second answer, which h11 refuses (uvicorn 0.54).
    """

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not HTTP, or close the connection if its answer has begun."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Args:
        host: A name or an address.
        port: 0 to 65535; 0 = any free one.

    Raises:
        CharlmError: the address does not exist on this machine, or is taken.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio sends small answers at once only if a socket names its protocol; else each waits 40 ms for the client.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (
        OSError,
        UnicodeError,
    ) as error:  # UnicodeError: the name has a part of more than 63 characters
        reason = getattr(error, "strerror", None) or error
        raise CharlmError(f"host {host}, port {port}: cannot listen there: {reason}") from None
    return listener


class Service:
    """The handlers of the routes.

    Args:
        shelf: The models; a request that names none gets the first.

    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._turns = Turnstile()
        self._bodies = Turnstile()  # their own, so that texts do not wait for all of them
        self._page_making = asyncio.Lock()

    async def _parse(self, kind: type[Body], request: Request) -> Body:
        """Read and parse the body of a request; raises RequestError."""
        body = await _read_body(request)
        if len(body) > SMALL_BODY_BYTES:
            await self._bodies.wait()
        return parse_request(kind, body)

    async def show_health(self, _: Request) -> Response:
        """GET /health: that the server runs."""
        return json_response({"status": "ok"})

    async def show_page(self, request: Request) -> Response:
        """GET /NAME: the page for writing with a model; GET /: with the first one."""
        model = await self._shelf.find(request.path_params.get("name"))
        async with (
            self._page_making
        ):  # all who wait for a page would occupy the threads, or make it as well
            page = await asyncio.to_thread(getattr, model, "page")
        is_compressed = _accepts_gzip(request.headers.get("accept-encoding", ""))
        etag = f'"{page.digest}{"-gzip" if is_compressed else ""}"'
        headers = PAGE_HEADERS | {"ETag": etag, "Vary": "Accept-Encoding"}
        known = request.headers.get("if-none-match", "").split(",")
        if etag in [name.strip().removeprefix("W/") for name in known]:
            return Response(status_code=304, headers=headers)
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        content = page.compressed if is_compressed else page.html
        return Response(content, media_type="text/html", headers=headers)

    async def list_models(self, _: Request) -> Response:
        """GET /v1/models: the models."""
        models = [await self._shelf.find(name) for name in self._shelf.names]
        return json_response({"object": "list", "data": [_describe(model) for model in models]})

    async def show_model(self, request: Request) -> Response:
        """GET /v1/models/NAME: one model."""
        return json_response(_describe(await self._shelf.find(request.path_params["name"])))

    async def complete(
        self, kind: type[CompletionRequest] | type[ChatRequest], request: Request
    ) -> Response:
        """POST /v1/completions and /v1/chat/completions."""
        wanted = await self._parse(kind, request)  # type: ignore[type-var]
        answer = Answer(await self._shelf.find(wanted.model), wanted, turns=self._turns)
        if wanted.stream:
            return StreamingResponse(
                _to_lines(answer.events()), media_type="text/event-stream", headers=HEADERS
            )
        texts: list[list[Chunk]] = [[] for _ in range(answer.count)]
        async for index, chunk in answer.chunks():
            texts[index].append(chunk)
            if await request.is_disconnected():
                raise ClientDisconnect
        if wanted.logprobs is not None:
            await self._turns.wait()
        return json_response(answer.whole(texts))

    async def describe_tokenizer(self, _: Request) -> Response:
        """GET /tokenizer_info: the special tokens of the first model, for programs that score texts."""
        vocabulary = (await self._shelf.find(None)).trained.vocabulary
        end = None if vocabulary.end_of_text_id is None else END_OF_TEXT
        return json_response(
            {"tokenizer_class": "characters", "bos_token": end, "eos_token": end, "pad_token": None}
        )

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize: the ids of a text."""
        wanted = await self._parse(TokenizeRequest, request)
        vocabulary = (await self._shelf.find(wanted.model)).trained.vocabulary
        ids = _encode(vocabulary, wanted.prompt)
        return json_response(
            {"tokens": ids, "count": len(ids), "max_model_len": MAX_PROMPT_CHARACTERS}
        )

    async def detokenize(self, request: Request) -> Response:
        """POST /detokenize: the text of ids."""
        wanted = await self._parse(DetokenizeRequest, request)
        vocabulary = (await self._shelf.find(wanted.model)).trained.vocabulary
        ids = prompt_ids(vocabulary, wanted.tokens, field="tokens")
        return json_response({"prompt": vocabulary.decode(ids)})


def _encode(vocabulary: Vocabulary, text: str) -> list[int]:
    """Return the ids of a text, or the end-of-text id for its name."""
    if text == END_OF_TEXT and vocabulary.end_of_text_id is not None:
        return [vocabulary.end_of_text_id]
    ids: list[int] = vocabulary.encode(text).tolist()
    return ids


def _accepts_gzip(header: str) -> bool:
    """Return whether a client takes an answer that is compressed with gzip, by its header Accept-Encoding."""
    for coding in header.lower().split(","):
        name, _, quality = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return not quality or quality.strip("0.") != ""
    return False


def _describe(model: ServedModel) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "charlm"}


async def _read_body(request: Request) -> bytes:
    """Return the body; one that is too large is read to its end, so that the client sees the refusal."""
    body = b""
    async for part in request.stream():
        body += part if len(body) <= MAX_BODY_BYTES else b""
    if len(body) > MAX_BODY_BYTES:
        raise RequestError(
            413, f"the body has more than {MAX_BODY_BYTES:,} bytes", code="body_too_large"
        )
    return body


async def _to_lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Yield server-sent events with these objects, and a last one for the end or for an error."""
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
    """Return the answer for an error of a handler. It is async because Starlette calls other functions in a thread."""
    match error:
        case RequestError():
            return error_response(error)
        case CharlmError():
            return error_response(_unusable(error))
        case HTTPException():
            return error_response(RequestError(error.status_code, error.detail))
        case ClientDisconnect():
            return Response(status_code=499)  # nobody reads it
    request.scope[PROBLEM] = repr(error)
    return error_response(RequestError(500, "internal server error"))


def make_app(shelf: Shelf) -> Starlette:
    """Return the application that serves models; a request that names none gets the first."""
    service = Service(shelf)

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
