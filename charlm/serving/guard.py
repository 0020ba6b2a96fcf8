"""Which requests a server answers: not too many at once, and none that another site makes a browser send.

A page of a stranger can send requests to 127.0.0.1 from the reader's browser. Such a request names its page in Origin.
With DNS rebinding it does not, since the page's own name leads to this machine; but it has that name in Host. An
address in Host cannot be rebound.
"""

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.errors import CharlmError
from charlm.serving.requests import RequestError

MAX_REQUESTS = 256
"""How many requests are answered at once, however many clients there are."""
MAX_SECONDS = 300.0
"""How long a request may take, from its head to the end of its answer."""
NO_STORE = {"Cache-Control": "no-store"}


def json_response(content: Any, status: int = 200) -> Response:
    """Return an answer that is a JSON value, in ASCII: a message may quote an unpaired surrogate."""
    return Response(json.dumps(content), status, media_type="application/json", headers=NO_STORE)


def error_response(error: RequestError) -> Response:
    """Return the answer to a request that is refused."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    content = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    response = json_response({"error": content}, error.status)
    response.headers.update({401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status, {}))
    return response


class Guard:
    """What happens to every request before and after its handler.

    Args:
        app: The handlers.
        host: The name or the address that the server listens at; another one may not be in Host if there is no key.
        key: What requests must carry; None = nothing.
        say: Takes a line for the user: an error that was not expected.

    """

    def __init__(self, app: ASGIApp, *, host: str, key: str | None, say: Callable[[str], object]) -> None:
        self._app, self._host, self._key, self._say = app, host.lower(), key, say
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and hand it on if it may be answered."""
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
            self._say(f"{scope['method']} {scope['path']}: internal server error: {error!r}")
            raise
        finally:
            self._requests -= 1

    def _check(self, headers: Mapping[bytes, str]) -> None:
        host = headers.get(b"host", "")
        if self._key is None:
            check_host(host, self._host)
        else:  # a page that is not allowed does not know it
            check_key(headers.get(b"authorization"), self._key)
        check_origin(headers.get(b"origin"), host)
        if self._requests == MAX_REQUESTS:
            raise RequestError(429, f"{MAX_REQUESTS} requests are being answered; try again", code="overloaded")


def check_host(host: str, allowed: str) -> None:
    """Refuse a request whose Host is neither an address, localhost nor the allowed name, which is in lower case.

    Raises:
        RequestError: with status 400 or 403.

    """
    name = _host_name(host)
    if name is None:
        raise RequestError(400, "Host: missing or not a host", code="bad_host")
    if not (name in ("localhost", allowed) or _is_address(name)):
        message = f"Host: found {name[:100]!r}; a server without a key answers to addresses, localhost and its --host"
        raise RequestError(403, message, code="host_not_allowed")


def check_origin(origin: str | None, host: str) -> None:
    """Refuse a request that a page of another site has made.

    Args:
        origin: The header, or None if there is none, as from programs that are not browsers.
        host: The header Host.

    Raises:
        RequestError: with status 403.

    """
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise RequestError(403, f"Origin: found {origin[:100]!r}; must be this server", code="origin_not_allowed")


def usable_key(key: str) -> str:
    """Return the key of a server.

    Raises:
        CharlmError: no header can carry it; the message does not tell the key.

    """
    if key != key.strip() or not (key.isascii() and key.isprintable() and key):
        raise CharlmError(
            "the key of the server, in CHARLM_API_KEY: must be printable ASCII without blanks around it; "
            "no request can carry another one"
        )
    return key


def check_key(authorization: str | None, key: str) -> None:
    """Refuse a request that does not carry the key of the server, as the clients of OpenAI do.

    Args:
        authorization: The header, which must be `Bearer KEY`; None if there is none.
        key: The key; it is compared in constant time.

    Raises:
        RequestError: with status 401.

    """
    scheme, _, found = (authorization or "").partition(" ")
    is_right = hmac.compare_digest(found.strip().encode("utf-8", "surrogateescape"), key.encode())
    if scheme.lower() != "bearer" or not is_right:
        raise RequestError(401, "Authorization: must be Bearer and the key of this server", code="invalid_api_key")


def _host_name(host: str) -> str | None:
    """Return the name or the address in a Host header, in lower case and without its port; None if there is none."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name.rstrip(".").lower() if name and "@" not in host and "/" not in host else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
