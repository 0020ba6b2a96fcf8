"""Requests to an application without a network, and models without files."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from charlm.events import ignore
from charlm.network.model_file import TrainedModel
from charlm.serving.guard import DEFAULT_LIMITS, Access, Limits, guarded
from charlm.serving.models import Page, ServedModel, Shelf
from charlm.serving.server import make_app

LOCAL = Access(["localhost"])


@dataclass(frozen=True)
class Answer:
    """Answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Value of the body, which must be JSON."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """Error object in the body."""
        error: dict[str, Any] = self.json["error"]
        return error


async def ask(app: ASGIApp, request: str, body: Any = b"", **headers: str) -> Answer:
    """Send a request, for example "GET /".

    An underscore in the name of a header stands for a dash.

    Args:
        app: The application.
        request: Method and path.
        body: Bytes, a list of chunks of bytes, or an object to send as JSON. The client never sends
            what comes after a chunk None.
        **headers: Headers in addition to Host.

    """
    method, path = request.split(" ", 1)
    named = {"host": "localhost", **headers}
    encoded = [(key.replace("_", "-").encode(), text.encode()) for key, text in named.items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "http_version": "1.1",
        "headers": encoded,
    }
    sent: list[Any] = []
    unread = _chunks(body)

    async def receive() -> Any:
        chunk = unread.pop(0) if unread else None
        if chunk is None:  # the client stays
            return await asyncio.Event().wait()
        return {"type": "http.request", "body": chunk, "more_body": bool(unread)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *parts = sent
    answered = {key.decode(): value.decode() for key, value in start["headers"]}
    return Answer(start["status"], answered, b"".join(part["body"] for part in parts))


def _chunks(body: Any) -> list[bytes | None]:
    if isinstance(body, list):
        return [*body]
    return [body if isinstance(body, bytes) else json.dumps(body).encode()]


class Client:
    """A client that sends one request at a time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def get(self, path: str, **headers: str) -> Answer:
        """Send a GET request."""
        return self.request(f"GET {path}", **headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Send a POST request; a body that is not bytes is sent as JSON."""
        return self.request(f"POST {path}", body, **headers)

    def request(self, request: str, body: Any = b"", **headers: str) -> Answer:
        """Send a request, see `ask`."""
        return asyncio.run(ask(self._app, request, body, **headers))


class FakeShelf(Shelf):
    """Models without files, called a, b, ..., each with its name as its page."""

    def __init__(self, *trained: TrainedModel) -> None:
        super().__init__([])
        self._models = {}
        for name, network in zip("ab", trained, strict=False):
            model = ServedModel(name, network, created=9)
            model.__dict__["page"] = Page.of(name.encode())
            self._models[name] = model

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(self._models)

    async def find(self, name: str | None) -> ServedModel:
        """Return a model, or refuse as a shelf does."""
        name = "a" if name is None else name
        return self._models[name] if name in self._models else await super().find(name)


def serving(
    *trained: TrainedModel, key: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> Client:
    """Return a client of a server with models a, b, ..."""
    app = make_app(FakeShelf(*trained), limits)
    return Client(guarded(app, Access(["localhost"], key=key), limits=limits, on_event=ignore))
