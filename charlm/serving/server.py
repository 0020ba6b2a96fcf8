"""HTTP server with an OpenAI-compatible API and a web page for each model.

A model is read again when its file is replaced, or a link to it is switched.
"""

import asyncio
import hmac
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import uvicorn
from h11 import LocalProtocolError
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend, AuthenticationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from charlm.checks import check_each, check_path, check_whole
from charlm.core.model_file import TrainedModel, read_model
from charlm.core.reading import one_thread
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, ignore
from charlm.exports.exporting import export_html
from charlm.runs.folder import find_model, model_name
from charlm.serving.completions import Completion, parse_request
from charlm.wording import short_repr

MAX_PORT = 65535
HEALTH = "/health"
"""Path of health checks, which need no key."""
MAX_BODY_BYTES = 1 << 20
MAX_CONNECTIONS = 512
"""Maximum number of connections; further requests are refused."""
DRAIN_SECONDS = 5
"""Time for pending requests to finish after the server is stopped."""
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
HOST = re.compile(r"\*|(\*\.)?[\w.-]+|\[[\w.:%]+\]")
"""Name or address in the header Host, without a port; * = any."""
ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/]+")
"""Web site in the header Origin; * = any."""
KEY = re.compile(r"\S([^\r\n]*\S)?")
"""Key that a client can send in a header."""


def serve(
    models: str | Path | Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    allow_hosts: Sequence[str] = (),
    allow_origins: Sequence[str] = (),
    log: str | Path | None = None,
    announce: Callable[[str], object] | None = None,
    on_event: OnEvent = ignore,
) -> None:
    """Serve models until Ctrl-C or SIGTERM. Must be called in the main thread.

    Args:
        models: Arguments of `charlm.load`; empty = the newest run.
        host: Address to listen on; other machines can reach any address but loopback.
        port: Port, 0 to 65535; 0 = any free port.
        key: Bearer token that requests need; None = no token.
        allow_hosts: Additional names allowed in the header Host; * = all.
        allow_origins: Web sites whose pages may use the server, for example https://example.com;
            * = all.
        log: File for a line about every request; None = no log.
        announce: Called with the URL when the server listens; None = not called.
        on_event: Called with notes.

    Raises:
        CharlmError: There is no such model, a model is damaged, two models have the same name, the
            address is not available, the log cannot be written, or an argument is invalid.
        KeyboardInterrupt: Ctrl-C has stopped the server.

    """
    check_whole("port", port, 0, MAX_PORT)
    paths = [Path(model) for model in check_each("models", models)]
    served = open_models(paths, on_event=on_event)
    name = f"[{host}]" if ":" in host else host
    app = make_app(
        served,
        key=key,
        allow_hosts=[name, *allow_hosts],
        allow_origins=allow_origins,
        on_event=on_event,
    )
    for logger in ("uvicorn.error", "asyncio"):  # they log every lost connection
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    if log is not None:
        _log_requests(check_path("log", log))
    with listen(host, port) as listener:
        if announce is not None:
            announce(f"http://{name}:{listener.getsockname()[1]}")
        on_event(Note(f"serving {', '.join(served)}; Ctrl-C stops the server"))
        if key is None and name not in LOCAL_HOSTS:
            warning = "other machines need no key, only a name in --allow-host; set CHARLM_API_KEY"
            on_event(Note(f"--host {host}: {warning}"))
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            log_config=None,
            access_log=log is not None,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        with one_thread():  # the products of a single stream are small
            Server(config).run(sockets=[listener])


class Server(uvicorn.Server):
    """A server that closes every connection; uvicorn leaves those whose client reads too slowly."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer pending requests while there is time, then close all connections."""
        await super().shutdown(sockets)
        for connection in self.server_state.connections:
            connection.transport.abort()


def _log_requests(path: str) -> None:
    """Append uvicorn's line about each request to a file."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise CharlmError(f"--log {path}: cannot be written: {error.strerror}") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.raiseExceptions = False  # a full disk must not print tracebacks
    logger = logging.getLogger("uvicorn.access")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        host: Name or address.
        port: Port, 0 to 65535; 0 = any free port.

    Raises:
        CharlmError: The address is not available on this machine, or in use.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without an explicit protocol, asyncio delays small answers by 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that is too long
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise CharlmError(f"host {host}, port {port}: cannot listen there: {reason}") from None
    return listener


class ServedModel:
    """A model that is read again when its file is replaced, or a link in its path is switched.

    Args:
        name: Name that requests use.
        path: Path of the model file.
        on_event: Called with notes.

    Raises:
        CharlmError: The file is missing or damaged.

    """

    def __init__(self, name: str, path: Path, *, on_event: OnEvent = ignore) -> None:
        self.name = name
        self._path = path
        self._on_event = on_event
        self._version = _version(path)
        self._use(read_model(path))

    def _use(self, trained: TrainedModel) -> None:
        self.trained = trained
        """Network, vocabulary and config."""
        self.modified, _ = self._version
        """Time when the file was replaced, in nanoseconds since 1970."""
        vars(self).pop("page", None)

    @cached_property
    def page(self) -> bytes:
        """Web page that generates text in the browser."""
        return export_html(self.trained, title=self.name)["index.html"]

    async def refresh(self) -> None:
        """Read the file again if it was replaced; a damaged or missing file changes nothing.

        Other requests get the old model meanwhile.
        """
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        result = "serving the new model"
        try:
            trained = await asyncio.to_thread(read_model, self._path)
            if version != self._version:  # another request reads a newer file
                return
            self._use(trained)
        except CharlmError as error:
            result = f"still serving the old model: {error}"
        self._on_event(Note(f"{self.name}: the file has changed; {result}"))


def _version(path: Path) -> tuple[int, int]:
    """Return the modification time of a file in nanoseconds, and its inode; zeros if missing."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def open_models(paths: Sequence[Path], *, on_event: OnEvent = ignore) -> dict[str, ServedModel]:
    """Read the models to serve, and return them by name.

    A model has the name of its run, or of its file if it is outside a run; a link has its own name.

    Args:
        paths: Runs, model files, or parts of names of runs; empty = the newest run.
        on_event: Called with notes.

    Raises:
        CharlmError: There is no such model, a model is damaged, or names are not unique.

    """
    files = [find_model(path, on_event=on_event) for path in paths or (None,)]
    models: dict[str, ServedModel] = {}
    for file in files:
        name = model_name(file)
        if name in models:
            raise CharlmError(
                f"{file}: another model is called {name} too; serve a copy with another name"
            )
        models[name] = ServedModel(name, file, on_event=on_event)
    return models


def make_app(
    models: Mapping[str, ServedModel],
    *,
    key: str | None = None,
    allow_hosts: Sequence[str] = (),
    allow_origins: Sequence[str] = (),
    on_event: OnEvent = ignore,
) -> Starlette:
    """Return the application that serves models; see `serve` for the arguments.

    A page of another site can make a browser send requests to 127.0.0.1. With DNS rebinding, the
    header Host then contains the name of that site. A browser does not know the key.

    Raises:
        CharlmError: No client can send the key, or a host or an origin is not as browsers send it.

    """
    if key is not None and not KEY.fullmatch(key):
        problem = "the key is empty, has a line break, or begins or ends with a space"
        raise CharlmError(f"CHARLM_API_KEY: {problem}; unset it to serve without a key")
    for host in allow_hosts:
        if not HOST.fullmatch(host):
            problem = "must be a name or an address without a port, such as example.com or [::1]"
            raise CharlmError(f"host: found {short_repr(host)}; {problem}")
    for origin in allow_origins:
        if not ORIGIN.fullmatch(origin):
            problem = "must be a site without a path, such as https://example.com"
            raise CharlmError(f"origin: found {short_repr(origin)}; {problem}")
    hosts = [*LOCAL_HOSTS, *allow_hosts]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts if key is None else ["*"]),
        Middleware(
            CORSMiddleware, allow_origins=allow_origins, allow_methods=["*"], allow_headers=["*"]
        ),
    ]
    if key is not None:
        check = Middleware(AuthenticationMiddleware, backend=KeyCheck(key), on_error=_refuse_key)
        middleware.append(check)
    service = Service(models)

    async def report(request: Request, error: Exception) -> Response:
        if not isinstance(error, LocalProtocolError):  # the client has violated HTTP
            on_event(Note(f"{request.method} {request.url.path}: {error!r}"))
        return _error(500, "internal server error")

    return Starlette(
        routes=[
            Route(HEALTH, service.show_health),
            Route("/v1/models", service.list_models),
            Route("/v1/completions", service.complete, methods=["POST"]),
            Route("/", service.show_page),
            Route("/{name}", service.show_page),
        ],
        middleware=middleware,
        exception_handlers={
            HTTPException: _refuse,
            CharlmError: _refuse,
            ClientDisconnect: _refuse,
            Exception: report,
        },
    )


class KeyCheck(AuthenticationBackend):
    """Refuses requests without the key, except health checks."""

    def __init__(self, key: str) -> None:
        self._expected = f"Bearer {key}".encode()

    async def authenticate(self, conn: HTTPConnection) -> None:
        """Check a request; the time does not depend on the number of equal characters."""
        sent = conn.headers.get("authorization", "").encode("latin-1")
        if conn.url.path != HEALTH and not hmac.compare_digest(sent, self._expected):
            raise AuthenticationError("Authorization: must be Bearer and the key of this server")


def _refuse_key(_: HTTPConnection, error: AuthenticationError) -> Response:
    return _error(401, str(error), headers={"WWW-Authenticate": "Bearer"})


async def _refuse(_: Request, error: Exception) -> Response:
    """Return the answer to an invalid request. If this were not async, it would run in a thread."""
    if isinstance(error, HTTPException):
        return _error(error.status_code, error.detail, headers=error.headers)
    return _error(400, str(error))


def _error(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error object of the OpenAI API."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind}}, status, headers)


class Service:
    """Handlers of the routes.

    Args:
        models: Models by name; a request without a name gets the first.

    """

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models
        self._turns = asyncio.Lock()

    async def _wait(self) -> None:
        """Wait for a turn: the caller goes on alone, and its turn ends when it waits again.

        Requests take turns in the order in which they come. The event loop runs between two turns,
        so a quick request waits for at most one turn.
        """
        async with self._turns:
            await asyncio.sleep(0)

    async def _find(self, name: str | None) -> ServedModel:
        """Return a model in its newest version."""
        model = self._models.get(next(iter(self._models)) if name is None else name)
        if model is None:
            names = ", ".join(self._models)
            raise HTTPException(404, f"model: found {short_repr(name)}; this server has {names}")
        await model.refresh()
        return model

    async def show_health(self, _: Request) -> Response:
        """GET /health."""
        return JSONResponse({"status": "ok"})

    async def show_page(self, request: Request) -> Response:
        """GET /NAME: the page of a model; GET /: the page of the first model."""
        model = await self._find(request.path_params.get("name"))
        return HTMLResponse(model.page)

    async def list_models(self, _: Request) -> Response:
        """GET /v1/models."""
        entries = []
        for name in self._models:
            model = await self._find(name)
            created = model.modified // 10**9
            entries.append(
                {"id": name, "object": "model", "created": created, "owned_by": "charlm"}
            )
        return JSONResponse({"object": "list", "data": entries})

    async def complete(self, request: Request) -> Response:
        """POST /v1/completions."""
        body = await _read_body(request)
        await self._wait()
        fields = parse_request(body)
        model = await self._find(fields.model)
        completion = Completion(model.trained, fields, name=model.name, wait=self._wait)
        if fields.stream:
            return StreamingResponse(_to_lines(completion), media_type="text/event-stream")
        return JSONResponse(await completion.whole(request.is_disconnected))


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            message = f"the body has more than {MAX_BODY_BYTES:,} bytes"
            raise HTTPException(413, message, headers={"Connection": "close"})
    return bytes(body)


async def _to_lines(completion: Completion) -> AsyncIterator[str]:
    """Yield the objects of an answer as server-sent events, and a last event."""
    try:
        async for event in completion.events():
            yield f"data: {json.dumps(event)}\n\n"
    except CharlmError as error:
        yield f"data: {json.dumps({'error': {'message': str(error)}})}\n\n"
    yield "data: [DONE]\n\n"
