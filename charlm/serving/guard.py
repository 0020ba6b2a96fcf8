"""Check each request, limit it while it is answered, and report it afterwards.

A page of another site can make a browser send requests to 127.0.0.1. The Origin header then names
that site. With DNS rebinding, the site's own name resolves to this machine; the Host header then
contains that name. An address in Host cannot be rebound.
"""

import asyncio
import hmac
import ipaddress
import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.errors import CharlmError
from charlm.events import OnEvent, RequestAnswered
from charlm.serving.requests import RequestError
from charlm.wording import short_repr

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
HEALTH = "/health"
"""Path of health checks, which need no key and may have any Host."""
PROBLEM = "charlm.problem"
"""Key of the unexpected error of a handler in the scope of its request."""
PART_BYTES = 65_536
"""Size of the parts in which an answer is sent; unread parts stay in memory."""
HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.IGNORECASE)
"""Name in a Host header, without a port."""
ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?)(:[0-9]+)?"
)
"""Web site as browsers write it in Origin: lower case, no path."""
DEFAULT_PORTS = (("http", ":80"), ("https", ":443"))
"""Ports that browsers leave out of Origin, by scheme."""
EXTRA_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}
"""Additional headers of errors, by status."""


@dataclass(frozen=True)
class Limits:
    """Limits of a server, which keep it usable for everybody."""

    requests: int = 256
    """Maximum number of requests at a time."""
    seconds: float = 300.0
    """Time limit of a request, from its head to the end of its answer."""
    body_bytes: int = 1 << 20
    """Maximum size of the body of a request."""


DEFAULT_LIMITS = Limits()


def json_response(content: Any, status: int = 200) -> Response:
    """Return an answer in JSON, as ASCII because a message may quote an unpaired surrogate."""
    return Response(json.dumps(content), status, media_type="application/json", headers=HEADERS)


def error_response(error: RequestError) -> Response:
    """Return the answer to a refused request."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    content = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    response = json_response({"error": content}, error.status)
    response.headers.update(EXTRA_HEADERS.get(error.status, {}))
    return response


@dataclass(frozen=True)
class Access:
    """Rules about which clients may use the server.

    Raises:
        CharlmError: A host or an origin is not in the form in which browsers send it.

    """

    hosts: Collection[str]
    """Names allowed in Host in addition to addresses and localhost; with a key, all are allowed."""
    origins: Collection[str] = ()
    """Web sites whose pages may use the server, for example https://example.com; * = all."""
    key: str | None = None
    """Bearer token that requests need; None = no token."""

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not HOST_NAME.fullmatch(host):
                problem = "must be a name without a port, for example example.com"
                raise CharlmError(f"allow_hosts: found {short_repr(host)}; {problem}")
        for origin in self.origins:
            if origin != "*" and not _is_origin(origin):
                raise CharlmError(
                    f"allow_origins: found {short_repr(origin)}; must be a site as browsers send "
                    f"it, such as https://example.com (lower case, no path, no default port), or * "
                    f"for all sites"
                )

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuse a request without the key, or from a page of another site.

        The key is compared in constant time.

        Args:
            headers: Headers of the request, with names in lower case.

        Raises:
            RequestError: The request is refused, with status 401 or 403.

        """
        host = headers.get("host", "")
        if self.key is not None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            is_equal = hmac.compare_digest(token.strip().encode(), self.key.encode())
            if scheme.lower() != "bearer" or not is_equal:
                message = "Authorization: must be Bearer and the key of this server"
                raise RequestError(401, message, code="invalid_api_key")
        elif not self._knows(host):
            message = (
                f"Host: found {host[:100]!r}; a server without a key accepts only addresses, "
                f"localhost, its own name, and the names in allow_hosts"
            )
            raise RequestError(403, message, code="host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and not self._allows(origin, host):
            message = f"Origin: found {origin[:100]!r}; must be this server or an allowed site"
            raise RequestError(403, message, code="origin_not_allowed")

    def _knows(self, host: str) -> bool:
        """Return whether a Host header is an address, localhost or an allowed name."""
        allowed = {name.lower().rstrip(".") for name in self.hosts}
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
            return name == "localhost" or name in allowed or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _allows(self, origin: str, host: str) -> bool:
        """Return whether an origin is this server or an allowed site."""
        is_own = origin.partition("://")[2].lower() == host.lower()
        return is_own or "*" in self.origins or origin in self.origins


def _is_origin(text: str) -> bool:
    for scheme, port in DEFAULT_PORTS:
        if text.startswith(f"{scheme}://") and text.endswith(port):
            return False
    return ORIGIN.fullmatch(text) is not None


def guarded(
    app: ASGIApp,
    access: Access,
    *,
    on_event: OnEvent,
    limits: Limits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> ASGIApp:
    """Return an application that checks every request and reports every answer.

    Args:
        app: Application with the handlers.
        access: Rules about which clients may use the server.
        on_event: Called with RequestAnswered.
        limits: Limits for the number of requests and their time.
        clock: Time in seconds, for the durations that are reported.

    """
    inner: ASGIApp = Guard(app, access, max_requests=limits.requests)
    if access.origins:  # browsers send a preflight request without the key
        inner = CORSMiddleware(
            inner, allow_origins=[*access.origins], allow_methods=["*"], allow_headers=["*"]
        )
    return AccessLog(inner, on_event=on_event, max_seconds=limits.seconds, clock=clock)


class Guard:
    """Refuses forbidden clients, and all clients while there are too many requests.

    Args:
        app: Application with the handlers.
        access: Rules about which clients may use the server.
        max_requests: Maximum number of requests at a time.

    """

    def __init__(self, app: ASGIApp, access: Access, *, max_requests: int) -> None:
        self._app = app
        self._access = access
        self._max_requests = max_requests
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on if it is allowed."""
        if scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        try:
            self._access.check(Headers(scope=scope))
            if self._requests == self._max_requests:
                message = f"{self._max_requests} requests are being answered; try again"
                raise RequestError(429, message, code="overloaded")
        except RequestError as error:
            await error_response(error)(scope, receive, send)
            return
        self._requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1


async def send_in_parts(message: Message, send: Send) -> None:
    """Send a message, a long body in parts, and wait for the client between parts."""
    body = message.get("body", b"")
    start = 0
    while len(body) - start > PART_BYTES:
        await send({**message, "body": body[start : start + PART_BYTES], "more_body": True})
        start += PART_BYTES
        await asyncio.sleep(0)  # the connection may have been lost
    await send({**message, "body": body[start:]} if start else message)


@dataclass
class SentAnswer:
    """Sends the messages of an answer, and records its status and size."""

    send: Send
    status: int = 0
    """HTTP status; 0 = nothing was sent yet."""
    size_bytes: int = 0
    """Size of the body sent so far."""

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.size_bytes += len(message.get("body", b""))
        await send_in_parts(message, self.send)


class AccessLog:
    """Ends requests that take too long, and reports every answer.

    Args:
        app: Application that answers requests.
        on_event: Called with RequestAnswered.
        max_seconds: Time limit of a request.
        clock: Time in seconds.

    """

    def __init__(
        self, app: ASGIApp, *, on_event: OnEvent, max_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._app = app
        self._on_event = on_event
        self._max_seconds = max_seconds
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        start = self._clock()
        answer = SentAnswer(send)
        problem = None
        try:
            async with asyncio.timeout(self._max_seconds) as limit:
                await self._app(scope, receive, answer)
        except TimeoutError:
            if not limit.expired():
                raise
            problem = f"cut off after {self._max_seconds:g} s"
            if not answer.status:  # otherwise uvicorn closes the connection
                message = f"the request took more than {self._max_seconds:g} s"
                error = RequestError(503, message, code="timeout")
                await error_response(error)(scope, receive, answer)
        finally:
            client = scope.get("client") or ("unknown",)
            path = quote(scope["path"], errors="surrogatepass")  # no spaces in the log
            self._on_event(
                RequestAnswered(
                    client=str(client[0]),
                    method=scope["method"],
                    path=path,
                    status=answer.status,
                    seconds=self._clock() - start,
                    size_bytes=answer.size_bytes,
                    problem=scope.get(PROBLEM, problem),
                )
            )
