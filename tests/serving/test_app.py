"""The application without a network: what it answers to each request, what guards it, and what `serve` checks."""

import asyncio
import gzip
import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import make_random_model, with_tensors

pytest.importorskip("starlette", reason="missing: starlette")
pytest.importorskip("uvicorn", reason="missing: uvicorn")

from starlette.types import ASGIApp, Receive, Scope, Send

from charlm.errors import CharlmError
from charlm.events import (
    Event,
    ModelNotReloaded,
    ModelReloaded,
    OpenToNetwork,
    RequestAnswered,
    ServerListening,
)
from charlm.network.model_file import TrainedModel, write_model
from charlm.serving import guard
from charlm.serving.guard import PART_BYTES, Access, Guard, guarded, send_in_parts
from charlm.serving.models import Page, ServedModel, Shelf, open_shelf
from charlm.serving.requests import RequestError
from charlm.serving.server import listen, make_app, serve

LOCAL = Access(["localhost"])


async def ask(
    app: ASGIApp, request: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    """Return the status, the headers and the body of the answer to a request such as GET /."""
    method, path = request.split(" ", 1)
    named = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "http_version": "1.1",
    }
    scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    sent, unread = list[Any](), [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return unread.pop() if unread else await asyncio.Event().wait()  # the client stays

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message["body"] for message in sent[1:])
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    is_json = found.get("content-type") == "application/json"
    return sent[0]["status"], found, json.loads(content) if is_json else content


class FakeShelf(Shelf):
    """Models that are in no file: a, b, ..."""

    def __init__(self, *trained: TrainedModel) -> None:
        super().__init__([])
        self._models = {
            name: ServedModel(name, each, 9) for name, each in zip("ab", trained, strict=False)
        }
        for name, model in self._models.items():
            model.__dict__["page"] = Page.of(name.encode())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(self._models)

    async def find(self, name: str | None) -> ServedModel:
        """Return a model, or refuse as a shelf does."""
        return (
            self._models["a" if name is None else name]
            if name in {None, *self._models}
            else await super().find(name)
        )


def serving(*trained: TrainedModel, key: str | None = None) -> Guard:
    """Return an application that serves models a, b, ..."""
    return Guard(make_app(FakeShelf(*trained)), Access(["localhost"], key=key))


def test_each_model_has_an_entry(trained: TrainedModel) -> None:
    app = serving(trained, trained)
    entries = [{"id": name, "object": "model", "created": 9, "owned_by": "charlm"} for name in "ab"]
    assert asyncio.run(ask(app, "GET /v1/models"))[2] == {"object": "list", "data": entries}
    assert asyncio.run(ask(app, "GET /v1/models/b"))[2] == entries[1]


@pytest.mark.parametrize(("path", "page"), [("/", b"a"), ("/a", b"a"), ("/b", b"b")])
def test_each_model_has_a_page(path: str, page: bytes, trained: TrainedModel) -> None:
    status, headers, found = asyncio.run(ask(serving(trained, trained), f"GET {path}"))
    assert (status, found, headers["content-type"]) == (200, page, "text/html; charset=utf-8")
    expected = {
        "content-security-policy": "frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
    }
    assert headers == {
        **headers,
        **expected,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    assert (headers["vary"], headers.get("content-encoding")) == ("Accept-Encoding", None)


@pytest.mark.parametrize("accepted", ["gzip", "br, GZIP", "gzip;q=0.5", "deflate, gzip; q=1.0"])
def test_the_page_is_compressed_for_a_client_that_takes_it(
    accepted: str, trained: TrainedModel
) -> None:
    _, headers, found = asyncio.run(
        ask(serving(trained), "GET /", headers={"accept-encoding": accepted})
    )
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(found) == b"a"


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "gzip; q=0.0", "xgzip"])
def test_the_page_is_not_compressed_for_other_clients(accepted: str, trained: TrainedModel) -> None:
    _, headers, found = asyncio.run(
        ask(serving(trained), "GET /", headers={"accept-encoding": accepted})
    )
    assert ("content-encoding" in headers, found) == (False, b"a")


def test_a_page_that_the_client_has_is_not_sent_again(trained: TrainedModel) -> None:
    app = serving(trained, trained)
    plain = asyncio.run(ask(app, "GET /a"))[1]["etag"]
    compressed = asyncio.run(ask(app, "GET /a", headers={"accept-encoding": "gzip"}))[1]["etag"]
    other = asyncio.run(ask(app, "GET /b"))[1]["etag"]
    assert len({plain, compressed, other}) == 3
    status, headers, found = asyncio.run(
        ask(app, "GET /a", headers={"if-none-match": f'"x", W/{plain}'})
    )
    assert (status, found, headers["etag"]) == (304, b"", plain)
    assert asyncio.run(ask(app, "GET /b", headers={"if-none-match": plain}))[0] == 200


@pytest.mark.parametrize(("model", "name"), [(None, "a"), ("b", "b")])
def test_the_model_of_a_name_answers(model: str | None, name: str, trained: TrainedModel) -> None:
    body = json.dumps({"model": model, "max_tokens": 3}).encode()
    status, headers, answer = asyncio.run(
        ask(serving(trained, trained), "POST /v1/completions", body)
    )
    assert (status, answer["model"], answer["object"]) == (200, name, "text_completion")
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_a_streamed_answer_is_a_row_of_events(trained: TrainedModel) -> None:
    body = b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 3, "stream": true}'
    _, headers, events = asyncio.run(ask(serving(trained), "POST /v1/chat/completions", body))
    assert headers["content-type"].startswith("text/event-stream")
    lines = events.decode().split("\n\n")
    assert json.loads(lines[0].removeprefix("data: "))["object"] == "chat.completion.chunk"
    assert lines[-2:] == ["data: [DONE]", ""]


def test_a_path_with_a_slash_too_many_is_not_redirected(trained: TrainedModel) -> None:
    assert asyncio.run(ask(serving(trained), "GET /v1/models/"))[0] == 404


def test_other_requests_have_a_turn_between_long_bodies(trained: TrainedModel) -> None:
    app = serving(trained)

    async def count_before_health() -> int:
        body = json.dumps({"prompt": ["", [5] * 10_000]}).encode()
        long = [asyncio.create_task(ask(app, "POST /v1/completions", body)) for _ in range(5)]
        await asyncio.create_task(ask(app, "GET /health"))
        done = sum(task.done() for task in long)
        await asyncio.gather(*long)
        return done

    assert asyncio.run(count_before_health()) <= 1


def test_one_page_is_made_at_a_time() -> None:
    class SlowModel:
        """A model that notes how many threads make its page."""

        makers = 0
        most = 0

        @property
        def page(self) -> Page:
            """A page; making it takes some time."""
            self.makers += 1
            self.most = max(self.most, self.makers)
            time.sleep(0.005)
            self.makers -= 1
            return Page.of(b"")

    class SlowShelf(FakeShelf):
        """A shelf with this model."""

        async def find(self, name: str | None) -> Any:
            """Return the model."""
            return model

    async def ask_three_times() -> None:
        app = make_app(SlowShelf())
        await asyncio.gather(*(ask(app, "GET /") for _ in range(3)))

    model = SlowModel()
    asyncio.run(ask_three_times())
    assert model.most == 1


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (0, [0]),
        (PART_BYTES, [PART_BYTES]),
        (PART_BYTES + 1, [PART_BYTES, 1]),
        (2 * PART_BYTES, [PART_BYTES] * 2),
    ],
    ids=["empty", "one part", "a byte more", "two parts"],
)
@pytest.mark.parametrize("more_body", [False, True])
def test_a_long_body_is_sent_in_parts(size: int, parts: list[int], more_body: bool) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    body = (b"0123456789" * size)[:size]
    asyncio.run(
        send_in_parts({"type": "http.response.body", "body": body, "more_body": more_body}, send)
    )
    assert [len(message["body"]) for message in sent] == parts
    assert b"".join(message["body"] for message in sent) == body
    assert [message["more_body"] for message in sent] == [*[True] * (len(parts) - 1), more_body]


def test_health_needs_no_key_and_no_known_host(trained: TrainedModel) -> None:
    app = serving(trained, key="secret")
    status, _, answer = asyncio.run(ask(app, "GET /health", headers={"host": "evil.example"}))
    assert (status, answer) == (200, {"status": "ok"})


# Tokenizer


def test_a_text_has_the_ids_of_its_characters_and_back(trained: TrainedModel) -> None:
    app = serving(trained)  # a line break, a, b, the unknown id and the end of a text
    body = b'{"prompt": "ab?\\n", "add_special_tokens": false}'
    tokens = asyncio.run(ask(app, "POST /tokenize", body))[2]
    assert tokens == {"tokens": [1, 2, 3, 0], "count": 4, "max_model_len": 65_536}
    assert asyncio.run(ask(app, "POST /detokenize", b'{"tokens": [1, 2, 3, 4, 0]}'))[2] == {
        "prompt": "ab\ufffd\n"
    }


def test_the_end_of_a_text_has_a_name_if_the_model_has_it(trained: TrainedModel) -> None:
    app = serving(trained)
    info = asyncio.run(ask(app, "GET /tokenizer_info"))[2]
    assert (info["bos_token"], info["eos_token"]) == ("<|endoftext|>", "<|endoftext|>")
    assert asyncio.run(ask(app, "POST /tokenize", b'{"prompt": "<|endoftext|>"}'))[2]["tokens"] == [
        4
    ]
    plain = serving(make_random_model("<|endoftx>"))
    assert asyncio.run(ask(plain, "GET /tokenizer_info"))[2]["bos_token"] is None
    assert (
        asyncio.run(ask(plain, "POST /tokenize", b'{"prompt": "<|endoftext|>"}'))[2]["count"] == 13
    )


@pytest.mark.parametrize(
    "body", [b'{"tokens": [5]}', b'{"tokens": [-1]}', b'{"tokens": ["a"]}', b"{}"]
)
def test_what_is_no_list_of_ids_is_refused(body: bytes, trained: TrainedModel) -> None:
    status, _, answer = asyncio.run(ask(serving(trained), "POST /detokenize", body))
    assert (status, answer["error"]["type"], answer["error"]["param"]) == (
        400,
        "invalid_request_error",
        "tokens",
    )


# What is refused


def test_a_wrong_request_is_refused_with_an_error_object(trained: TrainedModel) -> None:
    requests: tuple[tuple[str, bytes, dict[str, str], int, str | None], ...] = (
        *(
            ("GET /other", b"", {}, 404, "model_not_found"),
            ("GET /v1/models/other", b"", {}, 404, "model_not_found"),
        ),
        *(("GET /a/b", b"", {}, 404, None), ("GET /v1/completions", b"", {}, 405, None)),
        ("POST /v1/completions", b'{"model": "\\u202e"}', {}, 404, "model_not_found"),
        ("POST /v1/completions", b" " * (1 << 20), {}, 400, None),
        ("POST /v1/completions", b" " * ((1 << 20) + 1), {}, 413, "body_too_large"),
        ("GET /", b"", {"host": "evil.example"}, 403, "host_not_allowed"),
        ("GET /", b"", {"origin": "null"}, 403, "origin_not_allowed"),
    )
    for request, body, headers, status, code in requests:
        found, answered, answer = asyncio.run(ask(serving(trained), request, body, headers))
        error = answer["error"]
        assert (found, error["type"], error["code"]) == (status, "invalid_request_error", code), (
            request
        )
        assert error["message"].isprintable()
        assert "access-control-allow-origin" not in answered


def test_a_request_without_the_key_and_weights_that_are_not_finite_are_refused(
    trained: TrainedModel,
) -> None:
    nan = {"logits.bias": np.full(5, np.nan, np.float32)}
    broken = replace(trained, parameters=with_tensors(trained.parameters, nan))
    app, key = serving(broken, key="secret"), {"authorization": "Bearer secret"}
    for request in ("GET /", "GET /v1/models", "POST /v1/completions"):
        status, headers, _ = asyncio.run(ask(app, request))
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert asyncio.run(ask(app, "GET /", headers=key))[0] == 200
    status, _, answer = asyncio.run(ask(app, "POST /v1/completions", b"{}", key))
    assert (status, answer["error"]["code"]) == (422, "unusable_model")
    _, _, events = asyncio.run(ask(app, "POST /v1/completions", b'{"stream": true}', key))
    assert json.loads(events.removeprefix(b"data: "))["error"]["code"] == "unusable_model"


def test_256_requests_are_answered_at_once_and_their_places_are_free_again() -> None:
    async def try_all() -> list[int]:
        release = asyncio.Event()

        async def wait(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/plain")],
                }
            )

        app = Guard(wait, LOCAL)
        waiting = [asyncio.create_task(ask(app, "GET /")) for _ in range(256)]
        await asyncio.sleep(0)
        status, headers, answer = await ask(app, "GET /")
        assert (headers["retry-after"], answer["error"]["code"]) == ("1", "overloaded")
        release.set()
        return [
            status,
            *(found[0] for found in await asyncio.gather(*waiting)),
            (await ask(app, "GET /"))[0],
        ]

    assert asyncio.run(try_all()) == [429, *[200] * 257]


# Host, Origin and the key


OTHERS = (
    "evil.example",
    "localhost.evil.example",
    "texts.example.org",
    "127.0.0.1.nip.io",
    "",
    ":80",
    "[::1",
    "[]",
)


def status_of(headers: dict[str, str], key: str | None = None, **access: Any) -> int:
    """Return the status with which a request is answered; 0 = the key is told."""
    try:
        Access(**{"hosts": ["other.example.org"], "key": key, **access}).check(headers)
    except RequestError as error:
        return 0 if "secret" in error.message else error.status
    return 200


def test_only_addresses_localhost_and_the_name_of_the_server_are_answered_or_those_who_have_the_key() -> (
    None
):
    own = (
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1:80",
        "[::1]:8000",
        "10.1.2.3",
        "texts.example.org.",
        "localhost.",
    )
    for name in own:
        for headers in ({"host": name}, {"host": name, "origin": f"http://{name}"}):
            assert status_of(headers, hosts=["other", "Texts.example.org"]) == 200, headers
    for name in OTHERS:  # another site may have this name, and rebind it
        assert status_of({"host": name}, None) == 403, name
        assert status_of({"host": name, "authorization": "bearer secret"}, "secret") == 200, name


def test_pages_of_other_sites_and_requests_without_the_key_are_refused() -> None:
    for origin in ("null", "http://evil.example", "http://localhost", "http://["):
        assert status_of({"host": "localhost:8000", "origin": origin}, None) == 403, origin
    assert (
        status_of(
            {"host": "localhost", "origin": "null", "authorization": "Bearer secret"}, "secret"
        )
        == 403
    )
    assert status_of({"host": "localhost"}, "secret") == 401
    for wrong in (
        "",
        "Bearer",
        "Bearer wrong",
        "secret",
        "Bearer secret2",
        "Bearer s\xe9cret",
        "Basic secret",
    ):
        assert status_of({"host": "localhost", "authorization": wrong}, "secret") == 401, wrong


@pytest.mark.parametrize("origins", [["https://site.example"], ["*"]])
def test_pages_of_an_allowed_site_may_ask_but_need_the_key(origins: list[str]) -> None:
    headers = {"host": "localhost", "origin": "https://site.example"}
    assert status_of(headers, origins=origins) == 200
    assert status_of(headers, "secret", origins=origins) == 401
    assert (
        status_of({**headers, "origin": "https://other.example"}, origins=["https://site.example"])
        == 403
    )


def test_a_browser_learns_which_sites_may_ask(trained: TrainedModel) -> None:
    access = Access(["localhost"], ["https://site.example"], "secret")
    app = guarded(make_app(FakeShelf(trained)), access, on_event=lambda _: None)
    question = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, x-stainless",
    }
    allowed, other = ({"origin": f"https://{name}.example"} for name in ("site", "other"))
    status, headers, _ = asyncio.run(
        ask(app, "OPTIONS /v1/completions", headers={**allowed, **question})
    )
    assert (status, headers["access-control-allow-origin"]) == (200, "https://site.example")
    assert "x-stainless" in headers["access-control-allow-headers"]
    assert asyncio.run(ask(app, "OPTIONS /v1/completions", headers={**other, **question}))[0] == 400
    status, headers, _ = asyncio.run(ask(app, "GET /v1/models", headers=allowed))  # without the key
    assert (status, headers["access-control-allow-origin"]) == (401, "https://site.example")


@pytest.mark.parametrize("written", ["Texts.Example", "texts.example."])
def test_an_allowed_name_is_known_however_it_is_written(written: str) -> None:
    assert status_of({"host": "texts.example:8000"}, hosts=[written]) == 200


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
def test_what_is_no_host_cannot_be_allowed(host: str) -> None:
    with pytest.raises(CharlmError, match=r"^allow_hosts: found .*; must be a name"):
        Access([host])


@pytest.mark.parametrize(
    "origin", ["https://a.example:8443", "https://[::1]", "chrome-extension://abc", "app://x-y"]
)
def test_a_site_has_a_scheme_and_may_have_a_port(origin: str) -> None:
    assert status_of({"host": "localhost", "origin": origin}, origins=[origin]) == 200


@pytest.mark.parametrize(
    "origin",
    ["", "a.example", "https://", "https://a.example/", "https://*.a.example", "://a", "null", "https://A.example",
     "HTTPS://a.example", "https://a.example:443", "http://a.example:80", "https://a.example:x", "https://m\u00fc.example",
     "https://a\n.example"],
)  # fmt: skip
def test_what_is_no_site_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(
        CharlmError, match=r"^allow_origins: found .*; must be a site as browsers send it"
    ):
        Access([], [origin])


# The log


def answered(handler: ASGIApp, request: str = "GET /v1/models", **headers: str) -> RequestAnswered:
    """Return what is reported about an answer."""
    events: list[Event] = []
    with_log = guarded(handler, LOCAL, on_event=events.append)
    asyncio.run(ask(with_log, request, headers=headers))
    (event,) = events
    assert isinstance(event, RequestAnswered)
    return event


def test_every_answer_is_reported_also_a_refusal(trained: TrainedModel) -> None:
    app = make_app(FakeShelf(trained))
    event = answered(app)
    assert (event.client, event.method, event.path, event.status) == (
        "unknown",
        "GET",
        "/v1/models",
        200,
    )
    assert event.size_bytes == len(b'{"object": "list", "data": []}') + len(
        b'{"id": "a", "object": "model", "created": 9, "owned_by": "charlm"}'
    )
    assert (event.problem, 0 <= event.seconds < 60) == (None, True)
    assert answered(app, host="evil.example").status == 403


def test_a_reported_path_is_one_word(trained: TrainedModel) -> None:
    event = answered(make_app(FakeShelf(trained)), "GET /a 200 0.001 s 5 bytes\n\u202e")
    assert event.path == "/a%20200%200.001%20s%205%20bytes%0A%E2%80%AE"


def test_an_unexpected_error_is_reported_with_the_answer() -> None:
    class Broken(FakeShelf):
        """A shelf whose models cannot be found."""

        async def find(self, name: str | None) -> ServedModel:
            """Fail."""
            raise ZeroDivisionError(name)

    events: list[Event] = []
    app = guarded(make_app(Broken()), LOCAL, on_event=events.append)
    with pytest.raises(ZeroDivisionError):  # uvicorn catches it
        asyncio.run(ask(app, "GET /"))
    (event,) = events
    assert isinstance(event, RequestAnswered)
    assert (event.status, event.problem) == (500, "ZeroDivisionError(None)")


def test_a_request_that_takes_too_long_is_answered_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(guard, "MAX_SECONDS", 0.01)
    event = answered(wait)
    assert (event.status, event.problem) == (503, "cut off after 0.01 s")


# Models


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Write two models of one vocabulary."""
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for number, path in enumerate(paths):
        write_model(path, make_random_model(seed=number, facts={"step": number}))
    return paths


def steps_of(shelf: Shelf) -> list[int]:
    """Return the steps of the models on a shelf."""

    async def find_all() -> list[ServedModel]:
        return [await shelf.find(name) for name in shelf.names]

    return [model.trained.facts["step"] for model in asyncio.run(find_all())]


def test_a_model_that_is_replaced_is_read_again(models: list[Path]) -> None:
    events: list[Event] = []
    shelf = open_shelf(models, on_event=events.append)
    assert (shelf.names, steps_of(shelf)) == (("one", "two"), [0, 1])
    write_model(models[0], make_random_model(facts={"step": 7}))
    assert steps_of(shelf) == [7, 1]
    assert events == [ModelReloaded("one")]


def test_a_damaged_or_missing_file_leaves_the_old_model_until_it_is_whole_again(
    models: list[Path],
) -> None:
    events: list[Event] = []
    shelf = open_shelf(models[:1], on_event=events.append)
    data = models[0].read_bytes()
    models[0].write_bytes(data[:-1])
    assert [steps_of(shelf), steps_of(shelf)] == [[0], [0]]
    models[0].unlink()
    assert steps_of(shelf) == [0]
    (event,) = events  # once, however many requests there are
    assert isinstance(event, ModelNotReloaded)
    assert (event.name, "damaged" in event.problem) == ("one", True)
    models[1].replace(models[0])
    assert steps_of(shelf) == [1]


def test_models_of_the_same_run_have_the_names_of_their_files(trained_run: Path) -> None:
    both = open_shelf([trained_run, trained_run / "last.safetensors"])
    assert both.names == (f"{trained_run.name}-best", f"{trained_run.name}-last")
    with pytest.raises(CharlmError, match=f"another model is called {trained_run.name}-best too"):
        open_shelf([trained_run, trained_run / "best.safetensors"])


# Before it listens


def test_an_open_address_without_a_key_is_warned_of(model_file: Path) -> None:
    warning = OpenToNetwork("0.0.0.0")
    for host, key, expected in (
        ("127.0.0.1", None, []),
        ("0.0.0.0", "secret", []),
        ("0.0.0.0", None, [warning]),
    ):
        events: list[Event] = []

        def stop_listening(event: Event, events: list[Event] = events) -> None:
            """Note an event, and end the server when it listens."""
            if isinstance(event, ServerListening):
                raise EOFError
            events.append(event)

        with pytest.raises(EOFError):
            serve([model_file], host=host, port=0, key=key, on_event=stop_listening)
        assert events == expected


@pytest.mark.parametrize("key", ["", " secret", "secret\n", "cl\u00e9", "a\tb"])
def test_a_key_that_no_request_can_carry_is_refused_and_not_told(
    key: str, model_file: Path
) -> None:
    with pytest.raises(
        CharlmError, match=r"^key \(CHARLM_API_KEY\): must be printable ASCII"
    ) as caught:
        serve([model_file], host="127.0.0.1", port=0, key=key)
    assert not key.strip() or key.strip() not in str(caught.value)


def test_a_connection_sends_small_answers_at_once() -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            assert connection.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY on no other"


@pytest.mark.parametrize(
    ("argument", "value"),
    [("runs", 5), ("runs", ""), ("host", 5), ("host", ""), ("port", -1), ("port", "80"), ("key", 5),
     ("allow_hosts", [5]), ("allow_hosts", 5), ("allow_origins", [None])],
)  # fmt: skip
def test_a_wrong_argument_is_refused_by_name(argument: str, value: Any, model_file: Path) -> None:
    with pytest.raises(CharlmError, match=rf"^{argument}: "):
        serve(**{"runs": [model_file], argument: value})
