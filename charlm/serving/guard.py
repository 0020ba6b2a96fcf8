"""Which requests a server answers: not too many at once, and none that another site makes a browser send.

A page of a stranger can send requests to 127.0.0.1 from the reader's browser. Such a request names its page in Origin.
With DNS rebinding it does not, since the page's own name leads to this machine; but it has that name in Host. An
address in Host cannot be rebound.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from charlm.serving.requests import RequestError

MAX_REQUESTS = 256
"""How many requests are answered at once, however many clients there are."""
MAX_SECONDS = 300.0
"""How long a request may take, from its head to the end of its answer."""
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(content: Any, status: int = 200) -> Response:
    """Return an answer that is a JSON value, in ASCII: a message may quote an unpaired surrogate."""
    return Response(json.dumps(content), status, media_type="application/json", headers=HEADERS)


def error_response(error: RequestError) -> Response:
    """Return the answer to a request that is refused."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    content = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    response = json_response({"error": content}, error.status)
    response.headers.update({401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status, {}))
    return response


class Guard:
    """What happens to every request before its handler.

    Args:
        app: The handlers.
        host: The name or the address that the server listens at; another name may not be in Host if there is no key.
        key: What requests must carry; None = nothing.

    """

    def __init__(self, app: ASGIApp, *, host: str, key: str | None) -> None:
        self._app, self._host, self._key = app, host, key
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and hand it on if it may be answered."""
        try:
            check_head(Headers(scope=scope), host=self._host, key=self._key)
            if self._requests == MAX_REQUESTS:
                raise RequestError(429, f"{MAX_REQUESTS} requests are being answered; try again", code="overloaded")
        except RequestError as error:
            await error_response(error)(scope, receive, send)
            return
        self._requests += 1
        try:
            with contextlib.suppress(TimeoutError):  # uvicorn ends an answer that was begun, or answers with 500
                async with asyncio.timeout(MAX_SECONDS):
                    await self._app(scope, receive, send)
        finally:
            self._requests -= 1


def check_head(headers: Mapping[str, str], *, host: str, key: str | None) -> None:
    """Refuse a request without the key of the server, or one that a page of another site has made.

    Args:
        headers: Their names are in lower case.
        host: The name or the address that the server listens at.
        key: As for `Guard`; a page that is not allowed does not know it. It is compared in constant time.

    Raises:
        RequestError: with status 401 or 403.

    """
    own, origin = headers.get("host", ""), headers.get("origin")
    if key is not None:
        scheme, _, found = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(found.strip().encode(), key.encode()):
            raise RequestError(401, "Authorization: must be Bearer and the key of this server", code="invalid_api_key")
    elif not _is_safe(own, host):
        known = "addresses, localhost and the host that it was started with"
        message = f"Host: found {own[:100]!r}; a server without a key answers to {known}"
        raise RequestError(403, message, code="host_not_allowed")
    if origin is not None and origin.partition("://")[2].lower() != own.lower():
        raise RequestError(403, f"Origin: found {origin[:100]!r}; must be this server", code="origin_not_allowed")


def _is_safe(host: str, allowed: str) -> bool:
    """Return whether a Host header has an address, localhost or the allowed name in it."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        return name in {"localhost", allowed.lower()} or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
