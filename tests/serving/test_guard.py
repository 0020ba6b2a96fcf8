"""Which clients may use the server, how many at a time, and the report of each answer."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("starlette", reason="missing: starlette")

from serving.client import LOCAL, Answer, Client, FakeShelf, ask, serving
from starlette.types import ASGIApp, Receive, Scope, Send

from charlm.errors import CharlmError
from charlm.events import Event, RequestAnswered, ignore
from charlm.network.model_file import TrainedModel
from charlm.serving.guard import (
    DEFAULT_LIMITS,
    Access,
    Limits,
    guarded,
    send_in_parts,
)
from charlm.serving.models import ServedModel
from charlm.serving.requests import RequestError
from charlm.serving.server import make_app

SITE = "https://site.example"
KEY = "Bearer secret"


def status_of(headers: dict[str, str], *, key: str | None = None, **access: Any) -> int:
    """Return the status of a request: 200, or that of the error; 0 if the error tells the key."""
    rules = {"hosts": ["other.example.org"], "key": key, **access}
    try:
        Access(**rules).check(headers)
    except RequestError as error:
        return 0 if "secret" in error.message else error.status
    return 200


@pytest.mark.parametrize("has_origin", [False, True], ids=["no origin", "own origin"])
@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "127.0.0.1:80",
        "[::1]:8000",
        "10.1.2.3",
        "texts.example.org.",
    ],
)
def test_a_known_host_is_answered(host: str, has_origin: bool) -> None:
    headers = {"host": host}
    if has_origin:
        headers["origin"] = f"http://{host}"
    assert status_of(headers, hosts=["other", "Texts.example.org"]) == 200


OTHER_HOSTS = [
    "evil.example",
    "localhost.evil.example",
    "texts.example.org",
    "127.0.0.1.nip.io",
    "",
    ":80",
    "[::1",
    "[]",
]


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_another_host_which_may_be_rebound_is_refused(host: str) -> None:
    assert status_of({"host": host}) == 403


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_any_host_is_answered_with_the_key(host: str) -> None:
    assert status_of({"host": host, "authorization": "bearer secret"}, key="secret") == 200


@pytest.mark.parametrize("written", ["Texts.Example", "texts.example."])
def test_an_allowed_host_may_be_written_in_several_ways(written: str) -> None:
    assert status_of({"host": "texts.example:8000"}, hosts=[written]) == 200


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost", "http://["])
def test_the_page_of_another_site_is_refused(origin: str) -> None:
    assert status_of({"host": "localhost:8000", "origin": origin}) == 403


def test_the_page_of_another_site_is_refused_even_with_the_key() -> None:
    headers = {"host": "localhost", "origin": "null", "authorization": KEY}
    assert status_of(headers, key="secret") == 403


def test_a_request_without_the_key_is_refused() -> None:
    assert status_of({"host": "localhost"}, key="secret") == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer wrong",
        "secret",
        "Bearer secret2",
        "Bearer s\xe9cret",
        "Basic secret",
    ],
)
def test_a_wrong_key_is_refused(authorization: str) -> None:
    assert status_of({"host": "localhost", "authorization": authorization}, key="secret") == 401


@pytest.mark.parametrize("origins", [[SITE], ["*"]], ids=["site", "all"])
def test_the_page_of_an_allowed_site_is_answered(origins: list[str]) -> None:
    assert status_of({"host": "localhost", "origin": SITE}, origins=origins) == 200


@pytest.mark.parametrize("origins", [[SITE], ["*"]], ids=["site", "all"])
def test_the_page_of_an_allowed_site_needs_the_key(origins: list[str]) -> None:
    assert status_of({"host": "localhost", "origin": SITE}, key="secret", origins=origins) == 401


def test_an_allowed_site_does_not_allow_others() -> None:
    headers = {"host": "localhost", "origin": "https://other.example"}
    assert status_of(headers, origins=[SITE]) == 403


# How a browser learns which sites are allowed


@pytest.fixture
def cross_site(trained: TrainedModel) -> Client:
    """Return a client of a server with a key, which allows the pages of a site."""
    access = Access(["localhost"], [SITE], "secret")
    return Client(guarded(make_app(FakeShelf(trained)), access, on_event=lambda _: None))


def preflight(client: Client, origin: str) -> Answer:
    return client.request(
        "OPTIONS /v1/completions",
        origin=origin,
        access_control_request_method="POST",
        access_control_request_headers="authorization, x-stainless",
    )


def test_a_browser_may_ask_for_an_allowed_site(cross_site: Client) -> None:
    answer = preflight(cross_site, SITE)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "x-stainless" in answer.headers["access-control-allow-headers"]


def test_a_browser_must_not_ask_for_another_site(cross_site: Client) -> None:
    assert preflight(cross_site, "https://other.example").status == 400


def test_a_browser_sees_the_refusal_of_a_request_without_the_key(cross_site: Client) -> None:
    answer = cross_site.get("/v1/models", origin=SITE)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, SITE)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "https://a.example",
        "a b",
        "a/b",
        "a?",
        "\n",
        "a.example:80",
        "*",
        "*.a.example",
        "m\u00fc.example",
        ".",
    ],
)
def test_only_a_host_name_can_be_allowed(host: str) -> None:
    with pytest.raises(CharlmError, match=r"^allow_hosts: found .*; must be a name"):
        Access([host])


@pytest.mark.parametrize(
    "origin", ["https://a.example:8443", "https://[::1]", "chrome-extension://abc", "app://x-y"]
)
def test_a_site_has_a_scheme_or_a_port(origin: str) -> None:
    assert status_of({"host": "localhost", "origin": origin}, origins=[origin]) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "a.example",
        "https://",
        "https://a.example/",
        "https://*.a.example",
        "://a",
        "null",
        "https://A.example",
        "HTTPS://a.example",
        "https://a.example:443",
        "http://a.example:80",
        "https://a.example:x",
        "https://m\u00fc.example",
        "https://a\n.example",
    ],
)
def test_only_a_site_can_be_allowed(origin: str) -> None:
    message = r"^allow_origins: found .*; must be a site as browsers send it"
    with pytest.raises(CharlmError, match=message):
        Access([], [origin])


# How many requests, how large, and how long


class Gate:
    """A handler that answers all waiting requests when it is opened."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Answer all waiting requests."""
        self._opened.set()
        self._opened = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._opened.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def overload(
    count: int, limits: Limits = DEFAULT_LIMITS
) -> list[tuple[Answer, list[Answer]]]:
    """Return, twice, the answer to one request too many, and to those before it."""
    gate = Gate()
    app = guarded(gate, LOCAL, limits=limits, on_event=ignore)
    rounds = []
    for _ in range(2):
        requests = [asyncio.create_task(ask(app, "GET /")) for _ in range(count + 1)]
        await asyncio.sleep(0)
        gate.open()
        *answers, refused = await asyncio.gather(*requests)
        rounds.append((refused, answers))
    return rounds


def test_256_requests_are_answered_at_the_same_time() -> None:
    for refused, answers in asyncio.run(overload(256)):
        assert [answer.status for answer in answers] == [200] * 256
        assert (refused.status, refused.error["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "1"


def test_another_number_of_requests_can_be_allowed() -> None:
    (refused, answers), _ = asyncio.run(overload(2, Limits(requests=2)))
    assert [answer.status for answer in answers] == [200, 200]
    assert refused.error["message"] == "2 requests are being answered; try again"


@pytest.mark.parametrize("more_body", [False, True])
@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (0, [0]),
        (65_536, [65_536]),
        (65_537, [65_536, 1]),
        (131_072, [65_536, 65_536]),
    ],
    ids=["empty", "one part", "a byte more", "two parts"],
)
def test_a_long_body_is_sent_in_parts(size: int, parts: list[int], more_body: bool) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    body = (b"0123456789" * size)[:size]
    message = {"type": "http.response.body", "body": body, "more_body": more_body}
    asyncio.run(send_in_parts(message, send))
    assert [len(part["body"]) for part in sent] == parts
    assert b"".join(part["body"] for part in sent) == body
    assert [part["more_body"] for part in sent] == [True] * (len(parts) - 1) + [more_body]


# The access log


class Clock:
    """A clock that goes on by a quarter of a second whenever it is read."""

    def __init__(self) -> None:
        self._now = 100.0

    def __call__(self) -> float:
        self._now += 0.25
        return self._now


def reported(
    handler: ASGIApp,
    request: str = "GET /v1/models",
    *,
    limits: Limits = DEFAULT_LIMITS,
    **headers: str,
) -> RequestAnswered:
    """Return the event for the answer to a request."""
    events: list[Event] = []
    app = guarded(handler, LOCAL, on_event=events.append, limits=limits, clock=Clock())
    Client(app).request(request, **headers)
    (event,) = events
    assert isinstance(event, RequestAnswered)
    return event


def test_an_answer_is_reported(trained: TrainedModel) -> None:
    event = reported(make_app(FakeShelf(trained)))
    assert (event.client, event.method, event.path) == ("unknown", "GET", "/v1/models")
    entry = '{"id": "a", "object": "model", "created": 9, "owned_by": "charlm"}'
    assert event.size_bytes == len('{"object": "list", "data": []}') + len(entry)
    assert (event.status, event.problem) == (200, None)
    assert event.seconds == 0.25


def test_a_refusal_is_reported(trained: TrainedModel) -> None:
    assert reported(make_app(FakeShelf(trained)), host="evil.example").status == 403


def test_a_reported_path_is_one_word(trained: TrainedModel) -> None:
    event = reported(make_app(FakeShelf(trained)), "GET /a 200 0.001 s 5 bytes\n\u202e")
    assert event.path == "/a%20200%200.001%20s%205%20bytes%0A%E2%80%AE"


class BrokenShelf(FakeShelf):
    """A shelf with a defect."""

    async def find(self, name: str | None) -> ServedModel:
        """Fail."""
        raise ZeroDivisionError(name)


def test_an_unexpected_error_is_reported_with_the_answer() -> None:
    events: list[Event] = []
    app = guarded(make_app(BrokenShelf()), LOCAL, on_event=events.append)
    with pytest.raises(ZeroDivisionError):  # uvicorn catches it
        Client(app).get("/")
    (event,) = events
    assert isinstance(event, RequestAnswered)
    assert (event.status, event.problem) == (500, "ZeroDivisionError(None)")


# The time limit


async def never_answer(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def never_finish(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    await asyncio.Event().wait()


async def fail_in_time(scope: Scope, receive: Receive, send: Send) -> None:
    raise TimeoutError("of something else")


SHORT = Limits(seconds=0.01)


def test_the_time_limit_is_five_minutes() -> None:
    assert Limits().seconds == 300


def test_a_request_that_takes_too_long_is_answered_with_an_error() -> None:
    answer = Client(guarded(never_answer, LOCAL, limits=SHORT, on_event=ignore)).get("/")
    assert (answer.status, answer.error["code"]) == (503, "timeout")
    assert answer.error["message"] == "the request took more than 0.01 s"
    assert answer.error["type"] == "server_error"


def test_a_request_that_takes_too_long_is_reported() -> None:
    event = reported(never_answer, limits=SHORT)
    assert (event.status, event.problem) == (503, "cut off after 0.01 s")


def test_an_answer_that_takes_too_long_is_cut_off() -> None:
    event = reported(never_finish, limits=SHORT)
    assert (event.status, event.size_bytes) == (200, 3)
    assert event.problem == "cut off after 0.01 s"


def test_a_timeout_of_a_handler_is_no_time_limit() -> None:
    events: list[Event] = []
    app = guarded(fail_in_time, LOCAL, on_event=events.append)
    with pytest.raises(TimeoutError, match="something else"):
        Client(app).get("/")
    (event,) = events
    assert isinstance(event, RequestAnswered)
    assert (event.status, event.problem) == (0, None)


def test_a_body_that_never_ends_is_cut_off(trained: TrainedModel) -> None:
    client = serving(trained, limits=SHORT)
    answer = client.post("/v1/completions", [b'{"prompt": ', None])
    assert (answer.status, answer.error["code"]) == (503, "timeout")
