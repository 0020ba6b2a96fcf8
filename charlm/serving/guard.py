"""The checks before each request, the limits while it is answered, and the report after it.

A page of another site can make a reader's browser send requests to 127.0.0.1. Such a request names its page in Origin.
With DNS rebinding it does not, because the page's own name then leads to this machine; but that name is in Host. An
address in Host cannot be rebound.
"""

import asyncio
import hmac
import ipaddress
import json
import re
import time
from collections.abc import Collection, Mapping
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

MAX_REQUESTS = 256
"""The largest number of requests that are answered at the same time."""
MAX_SECONDS = 300.0
"""The longest time that a request may take, from its head to the end of its answer."""
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
HEALTH = "/health"
"""The path for programs that watch whether the server runs. It is answered without a key and whatever the Host is."""
PROBLEM = "charlm.problem"
"""The entry of a request's scope for the unexpected error that its handler had."""
PART_BYTES = 65_536
"""The largest part of an answer that is sent at a time. What a client does not read stays in memory."""
HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.IGNORECASE)
"""A name that a Host header can have, without a port."""
ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?)(:[0-9]+)?"
)
"""A site as browsers write it in Origin: in lower case and without a path."""
DEFAULT_PORTS = (("http", ":80"), ("https", ":443"))
"""Schemes and the ports that browsers leave out of Origin."""


def json_response(content: Any, status: int = 200) -> Response:
    """Return an answer that is a JSON value, in ASCII: a message may quote an unpaired surrogate."""
    return Response(json.dumps(content), status, media_type="application/json", headers=HEADERS)


def error_response(error: RequestError) -> Response:
    """Return the answer to a request that is refused."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    content = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    response = json_response({"error": content}, error.status)
    response.headers.update(
        {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status, {})
    )
    return response


@dataclass(frozen=True)
class Access:
    """The clients that may use the server.

    Raises:
        CharlmError: a host or an origin is not written as browsers send it.

    """

    hosts: Collection[str]
    """Names that may be in Host next to addresses and localhost; with a key, any name may."""
    origins: Collection[str] = ()
    """Sites whose pages may use the server, such as https://example.com; * = every site."""
    key: str | None = None
    """The bearer token that requests must have; None = no token."""

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not HOST_NAME.fullmatch(host):
                problem = "must be a name without a port, for instance example.com"
                raise CharlmError(f"allow_hosts: found {short_repr(host)}; {problem}")
        for origin in self.origins:
            has_default_port = any(
                origin.startswith(f"{scheme}://") and origin.endswith(port)
                for scheme, port in DEFAULT_PORTS
            )
            if origin != "*" and (has_default_port or not ORIGIN.fullmatch(origin)):
                site = "must be a site as browsers send it, such as https://example.com"
                problem = f"{site} (lower case, no path, no default port), or * for every site"
                raise CharlmError(f"allow_origins: found {short_repr(origin)}; {problem}")

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuse a request without the key of the server, or one that a page of another site has sent.

        The key is compared in constant time.

        Args:
            headers: The headers of the request; their names are in lower case.

        Raises:
            RequestError: with status 401 or 403.

        """
        host = headers.get("host", "")
        origin = headers.get("origin")
        if self.key is not None:
            scheme, _, found = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(
                found.strip().encode(), self.key.encode()
            ):
                raise RequestError(
                    401,
                    "Authorization: must be Bearer and the key of this server",
                    code="invalid_api_key",
                )
        elif not self._knows(host):
            allowed = "addresses, localhost, the host that it was started with, and hosts that it was told to allow"
            message = f"Host: found {host[:100]!r}; a server without a key answers to {allowed}"
            raise RequestError(403, message, code="host_not_allowed")
        if origin is not None and not self._allows(origin, host):
            message = f"Origin: found {origin[:100]!r}; must be this server, or an origin that it was told to allow"
            raise RequestError(403, message, code="origin_not_allowed")

    def _knows(self, host: str) -> bool:
        """Return whether a Host header has an address, localhost or an allowed name in it."""
        allowed = {"localhost", *(name.lower().rstrip(".") for name in self.hosts)}
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
            return name in allowed or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _allows(self, origin: str, host: str) -> bool:
        """Return whether a page may use the server, because it comes from this server or from an allowed site."""
        is_own = origin.partition("://")[2].lower() == host.lower()
        return is_own or "*" in self.origins or origin in self.origins


def guarded(app: ASGIApp, access: Access, *, on_event: OnEvent) -> ASGIApp:
    """Return an application that checks every request and reports every answer.

    Args:
        app: The handlers.
        access: The clients that may use the server.
        on_event: Called with RequestAnswered.

    """
    inner: ASGIApp = Guard(app, access)
    if access.origins:  # browsers first send a preflight request without the key
        inner = CORSMiddleware(
            inner, allow_origins=[*access.origins], allow_methods=["*"], allow_headers=["*"]
        )
    return AccessLog(inner, on_event=on_event)


class Guard:
    """Refuses clients that may not use the server, and any client while there are too many requests.

    Args:
        app: The handlers.
        access: The clients that may use the server.

    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and hand it on if it may be answered."""
        if scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        try:
            self._access.check(Headers(scope=scope))
            if self._requests == MAX_REQUESTS:
                raise RequestError(
                    429, f"{MAX_REQUESTS} requests are being answered; try again", code="overloaded"
                )
        except RequestError as error:
            await error_response(error)(scope, receive, send)
            return
        self._requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1


async def send_in_parts(message: Message, send: Send) -> None:
    """Send a message of an answer, and a long body in parts, waiting for the client between them."""
    body = message.get("body", b"")
    start = 0
    while len(body) - start > PART_BYTES:
        await send({**message, "body": body[start : start + PART_BYTES], "more_body": True})
        start += PART_BYTES
        await asyncio.sleep(0)  # the connection may have been lost
    await send({**message, "body": body[start:]} if start else message)


@dataclass
class SentAnswer:
    """Sends the messages of an answer, and notes its status and size."""

    send: Send
    status: int = 0
    """The HTTP status; 0 = the answer has not begun."""
    size_bytes: int = 0
    """The size of what was sent, without the head."""

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.size_bytes += len(message.get("body", b""))
        await send_in_parts(message, self.send)


class AccessLog:
    """Ends a request that takes too long, and reports how each one was answered.

    Args:
        app: What answers requests.
        on_event: Called with RequestAnswered.

    """

    def __init__(self, app: ASGIApp, *, on_event: OnEvent) -> None:
        self._app = app
        self._on_event = on_event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        start = time.monotonic()
        answer = SentAnswer(send)
        problem = None
        try:
            async with asyncio.timeout(MAX_SECONDS) as limit:
                await self._app(scope, receive, answer)
        except TimeoutError:
            if not limit.expired():
                raise
            problem = f"cut off after {MAX_SECONDS:g} s"
            if (
                not answer.status
            ):  # otherwise uvicorn closes the connection, because the answer is not complete
                late = RequestError(
                    503, f"the request took more than {MAX_SECONDS:g} s", code="timeout"
                )
                await error_response(late)(scope, receive, answer)
        finally:
            client = scope.get("client") or ("unknown",)
            path = quote(
                scope["path"], errors="surrogatepass"
            )  # a space or a line break would make a line ambiguous
            self._on_event(
                RequestAnswered(
                    client=str(client[0]),
                    method=scope["method"],
                    path=path,
                    status=answer.status,
                    seconds=time.monotonic() - start,
                    size_bytes=answer.size_bytes,
                    problem=scope.get(PROBLEM, problem),
                )
            )
