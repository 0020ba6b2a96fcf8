"""The server from its socket to its end: uvicorn, and what it needs of the process."""

import asyncio
import gc
import ipaddress
import logging
import resource
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from charlm.errors import CharlmError, short_repr
from charlm.sampling.batch import Batch
from charlm.serving.app import Service, make_app
from charlm.serving.dispatcher import Dispatcher
from charlm.serving.jobs import ServedModel
from charlm.serving.requests import ServerLimits

DRAIN_SECONDS = 30
"""How long the server waits in the end for requests that were begun."""
OPEN_FILES = 16_384
FILES_BESIDE_CONNECTIONS = 64
UNSENT_BYTES = 1 << 16
"""How much of an answer the system takes before the client has room for it. Without a bound it takes megabytes, and
nobody sees for minutes that a slow client is reading."""
GARBAGE_THRESHOLDS = (700, 10, 10)
"""Python's own; a command starts with rarer searches, so that reference cycles of old requests would stay."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

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
        if (option := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)  # its connections have it, too
        listener.bind(address)
    except UnicodeError:
        raise CharlmError(
            f"--host {short_repr(host)}: must be an address, or a name with at most 63 characters between two dots"
        ) from None
    except OSError as error:
        raise CharlmError(f"--host {host}, --port {port}: cannot listen there: {error.strerror or error}") from None
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine can reach a listening socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the address of a listening socket as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    models: Mapping[str, ServedModel],
    batches: Mapping[str, Batch],
    listener: socket.socket,
    *,
    limits: ServerLimits,
    allowed_hosts: Sequence[str] = (),
    key: str | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; then take no more, and finish those that were begun.

    Must be called in the main thread. It lets the process open as many files as it may, and has Python look for
    reference cycles as often as it does by default.

    Args:
        models: The models by name, at least one.
        batches: The slots of each model, by its name.
        listener: The socket; it is closed in the end.
        limits: The bounds.
        allowed_hosts: Names besides localhost by which the server may be reached, in lower case.
        key: What requests must carry; None = nothing.
        say: Takes a line for the user, from any thread: what was not expected in a request.

    Raises:
        CharlmError: writing has failed; the requests that were begun got an error.

    """
    gc.freeze()  # what the start has made stays
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    max_connections = _raise_file_limit() - FILES_BESIDE_CONNECTIONS

    def end() -> None:
        """End the server after the answers that were begun."""
        server.should_exit = True

    dispatcher = Dispatcher(batches, limits, on_failure=end)
    service = Service(models, dispatcher, limits=limits)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # clients that vanish are no news
    config = uvicorn.Config(
        make_app(service, allowed_hosts=allowed_hosts, key=key, say=say),
        http=bounded_protocol(read_seconds=limits.read_seconds, max_connections=max_connections),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        h11_max_incomplete_event_size=16_384,
    )
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    finally:
        if (failure := dispatcher.failure) is not None:  # a signal that came afterwards does not hide it
            raise CharlmError(f"writing has failed: {type(failure).__name__}: {failure}") from None


def bounded_protocol(*, read_seconds: float, max_connections: int) -> type[H11Protocol]:
    """Return a protocol for uvicorn that bounds its connections.

    uvicorn closes a connection that is idle between two requests, but waits without end for the head of a request.

    Args:
        read_seconds: How long a client may take to send the head of a request, and may take nothing of an answer that
            is complete.
        max_connections: Connections beyond this number are closed at once.

    """

    class BoundedProtocol(H11Protocol):
        """HTTP/1.1 with a limit to the time between requests."""

        _timer: asyncio.TimerHandle | None = None
        _waits_for: Any = None
        _unsent = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Refuse a connection beyond the limit, and begin to watch the others."""
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                transport.abort()
            else:
                self._check_later()

        def connection_lost(self, exc: Exception | None) -> None:
            """Stop watching a connection that has ended."""
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _check_later(self) -> None:
            is_busy = self.cycle is not None and not self.cycle.response_complete
            self._waits_for = None if is_busy else (self.cycle,)
            self._unsent = self.transport.get_write_buffer_size()
            self._timer = self.loop.call_later(read_seconds, self._check)

        def _check(self) -> None:
            """Close the connection if nothing has happened since the last check."""
            if self.transport.get_write_buffer_size() != self._unsent:
                self._check_later()  # the client is taking its answer
            elif self.transport.is_closing():
                self.transport.abort()
            elif self._waits_for is not None and self._waits_for[0] is self.cycle:
                self.transport.close()
                self._check_later()
            else:
                self._check_later()

    return BoundedProtocol


def _raise_file_limit() -> int:
    """Let this process open as many files as it may, within reason; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return wanted if soft == resource.RLIM_INFINITY else soft
