"""Host and Origin: requests that the pages of other sites cause are not answered."""

import asyncio
from asyncio import Queue
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("starlette", reason="missing: starlette")

from starlette.responses import Response

from charlm.serving.guard import Guard, check_host, check_key, check_origin
from charlm.serving.requests import RequestError


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000", "10.1.2.3", "texts.example.org.", "localhost."],
)
def test_addresses_localhost_and_allowed_names_are_answered(host: str) -> None:
    check_host(host, "texts.example.org")


def check_refused(status: int, check: Callable[..., object], *arguments: Any) -> str:
    """Check that a request is refused with a status; return the message."""
    with pytest.raises(RequestError) as caught:
        check(*arguments)
    assert caught.value.status == status
    return caught.value.message


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "texts.example.org", "127.0.0.1.nip.io"])
def test_other_names_are_refused_as_they_may_have_been_rebound(host: str) -> None:
    check_refused(403, check_host, host, "other.example.org")


@pytest.mark.parametrize("host", ["", ":80", "[::1", "a@localhost", "localhost/x", "[]"])
def test_what_is_not_a_host_is_refused(host: str) -> None:
    check_refused(400, check_host, host, "127.0.0.1")


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost", "http://["])
def test_requests_of_pages_of_other_sites_are_refused(origin: str) -> None:
    check_refused(403, check_origin, origin, "localhost:8000")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "secret", "Bearer secret2", "Bearer s\xe9cret", "Basic secret"]
)
def test_a_request_without_the_key_is_refused_and_the_key_is_not_told(header: str | None) -> None:
    assert "secret" not in check_refused(401, check_key, header, "secret")
    check_key("Bearer secret", "secret")


@pytest.mark.parametrize(("key", "status"), [(None, 403), ("secret", 200)])
def test_a_server_with_a_key_answers_to_every_host(key: str | None, status: int) -> None:
    """A page that was rebound does not have the key."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"evil.example"), (b"authorization", b"Bearer secret")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    guard = Guard(Response("text"), host="127.0.0.1", key=key, say=print)
    asyncio.run(guard(scope, Queue[Any]().get, send))
    assert sent[0]["status"] == status
