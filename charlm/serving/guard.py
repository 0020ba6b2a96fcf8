"""Which requests a server on this machine answers: none that another site makes a browser send.

A page of a stranger can send requests to 127.0.0.1 from the reader's browser. Such a request names its page in Origin.
With DNS rebinding it does not, since the page's own name leads to this machine; but it has that name in Host. An
address in Host cannot be rebound.
"""

import hmac
import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from charlm.errors import CharlmError, short_repr
from charlm.serving.requests import RequestError


def check_host(host: str | None, allowed: Iterable[str]) -> None:
    """Refuse a request whose Host is neither an address, localhost nor one of the allowed names.

    Args:
        host: The header, or None if there is none.
        allowed: Names that `check_allowed` returned.

    Raises:
        RequestError: with status 400 or 403.

    """
    name = _host_name(host or "")
    if name is None:
        raise RequestError(400, "Host: missing or not a host", code="bad_host")
    if not (name == "localhost" or name in set(allowed) or _is_address(name)):
        raise RequestError(
            403, f"Host: found {name[:100]!r}; allow it with charlm serve --allow-host", code="host_not_allowed"
        )


def check_origin(origin: str | None, host: str) -> None:
    """Refuse a request that a page of another site has made.

    Args:
        origin: The header, or None if there is none, as from programs that are not browsers.
        host: The header Host, which was checked.

    Raises:
        RequestError: with status 403.

    """
    if origin is None:
        return
    try:
        is_own = urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        is_own = False
    if not is_own:
        raise RequestError(403, f"Origin: found {origin[:100]!r}; must be this server", code="origin_not_allowed")


def check_allowed(name: str) -> str:
    """Return a name that requests may have in Host, in lower case.

    Raises:
        CharlmError: it is no name of a host, so that no request could have it.

    """
    found = name.rstrip(".").lower()
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", found, re.ASCII):
        raise CharlmError(f"--allow-host {short_repr(name)}: must be a name such as texts.example.org, without a port")
    return found


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
