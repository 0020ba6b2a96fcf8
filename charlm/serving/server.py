"""An HTTP endpoint for trained models, as the OpenAI API has it, and their pages for writing."""

import ipaddress
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from charlm.api.model import load
from charlm.errors import CharlmError
from charlm.events import OnEvent, OpenToNetwork, RequestFailed, ServerListening, ignore
from charlm.formats.exporting import export_html
from charlm.runs.folder import model_name
from charlm.serving.answers import Answer, Piece, ServedModel
from charlm.serving.guard import HEADERS, Guard, error_response, json_response
from charlm.serving.requests import MAX_BODY_BYTES, ChatRequest, CompletionRequest, RequestError, parse_request
from charlm.wording import short_repr

PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": "frame-ancestors 'none'",  # beside the policy in the page, which cannot say this
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
DRAIN_SECONDS = 5
"""How long the server waits in the end for requests that were begun."""
MAX_HEAD_BYTES = 16_384


def serve(
    runs: Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    on_event: OnEvent = ignore,
) -> None:
    """Answer requests until Ctrl-C or SIGTERM, then finish those that were begun. Must be called in the main thread.

    Models are read once, at the start.

    Args:
        runs: Runs or model files, or parts of the names of runs; none = the newest run under runs/.
        host: The address to listen at; anything but loopback is open to the network.
        port: 0 to 65535; 0 = any free one.
        key: What requests must carry, as the key of OpenAI's clients; None = nothing.
        on_event: Called with ServerListening, OpenToNetwork and RequestFailed.

    Raises:
        CharlmError: the key cannot occur in a request, there is no model, one is damaged, two have
            the same name, or the address is taken.

    """
    models = _load_models(runs)
    if key is not None and (key != key.strip() or not (key.isascii() and key.isprintable() and key)):
        raise CharlmError(
            "CHARLM_API_KEY: must be printable ASCII without blanks around it; no request can carry another key"
        )
    with listen(host, port) as listener:
        listener.listen()
        address, bound_port = listener.getsockname()[:2]
        if key is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            on_event(OpenToNetwork(host))
        url = f"http://{f'[{address}]' if ':' in address else address}:{bound_port}"
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # not a line for each client that leaves
        config = uvicorn.Config(
            Guard(make_app(models, on_event), host=host, key=key),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        listening = ServerListening(url, tuple(models), needs_key=key is not None)
        _Server(config, partial(on_event, listening)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that tells when it listens, and no signal would end it without its own handlers."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._tell()


def _load_models(runs: Sequence[str | Path]) -> dict[str, ServedModel]:
    models: dict[str, ServedModel] = {}
    for run in runs or (None,):
        model = load(run)
        name = model_name(model.path)
        if name in models:
            raise CharlmError(f"{model.path}: another model is called {name} too; rename one of them")
        created = int(model.path.stat().st_mtime)
        models[name] = ServedModel(name, model.trained, created, export_html(model.trained, title=name)["index.html"])
    return models


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Args:
        host: A name or an address.
        port: 0 to 65535; 0 = any free one.

    Raises:
        CharlmError: the address does not exist on this machine, or is taken.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio sends small answers at once only if a socket names its protocol; else each waits 40 ms for the client.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: the name has a part of more than 63 characters
        reason = getattr(error, "strerror", None) or error
        raise CharlmError(f"host {host}, port {port}: cannot listen there: {reason}") from None
    return listener


class Service:
    """The handlers of the routes.

    Args:
        models: The models by name, at least one; a request that names none gets the first.

    """

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models

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
        answer = Answer(self._find(wanted.model), wanted)
        if wanted.stream:
            return StreamingResponse(_to_lines(answer.events()), media_type="text/event-stream", headers=HEADERS)
        texts: list[list[Piece]] = [[] for _ in range(answer.count)]
        async for index, piece in answer.pieces():
            texts[index].append(piece)
            if await request.is_disconnected():
                raise ClientDisconnect
        return json_response(answer.whole(texts))

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
    body = b""
    async for part in request.stream():
        body += part if len(body) <= MAX_BODY_BYTES else b""
    if len(body) > MAX_BODY_BYTES:
        raise RequestError(413, f"the body has more than {MAX_BODY_BYTES:,} bytes", code="body_too_large")
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


def make_app(models: Mapping[str, ServedModel], on_event: OnEvent = ignore) -> Starlette:
    """Return the application that serves models.

    Args:
        models: The models by name, at least one; a request that names none gets the first.
        on_event: Called with RequestFailed.

    """
    service = Service(models)

    def fail(request: Request, error: Exception) -> Response:
        on_event(RequestFailed(f"{request.method} {request.url.path}", repr(error)))
        return error_response(RequestError(500, "internal server error"))

    return Starlette(
        routes=[
            Route("/", service.show_page),
            Route("/{name}", service.show_page),
            Route("/v1/models", service.list_models),
            Route("/v1/models/{name}", service.show_model),
            Route("/v1/completions", partial(service.complete, CompletionRequest), methods=["POST"]),
            Route("/v1/chat/completions", partial(service.complete, ChatRequest), methods=["POST"]),
        ],
        exception_handlers={
            RequestError: lambda _, error: error_response(error),
            CharlmError: lambda _, error: error_response(_unusable(error)),
            HTTPException: lambda _, error: error_response(RequestError(error.status_code, error.detail)),
            ClientDisconnect: lambda _, error: Response(status_code=499),  # nobody reads it
            Exception: fail,
        },
    )
