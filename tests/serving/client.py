"""A server in a thread of the test, and requests to it."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from threading import Thread
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from charlm.serving.server import listen

SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """Answer to a request."""

    status: int
    headers: dict[str, str]
    """Headers by their names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """Value of the body, which must be JSON."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Message of the error in the body."""
        error = self.json["error"]
        assert error["type"] == ("server_error" if self.status >= 500 else "invalid_request_error")
        message: str = error["message"]
        assert message.isprintable()
        return message


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    """Serve an application on a free port of this machine; yield the port."""
    config = uvicorn.Config(app, http="h11", ws="none", log_config=None)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def ask(port: int, request: str, body: Any = None, **headers: str) -> Answer:
    """Send a request, for example "GET /".

    Args:
        port: Port of the server.
        request: Method and path.
        body: Bytes, an iterator over parts of the body, or an object to send as JSON.
        **headers: More headers; an underscore in a name stands for a dash.

    """
    method, path = request.split()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = json.dumps(body) if isinstance(body, dict) else body
    with closing(HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request(method, path, data, named)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())
