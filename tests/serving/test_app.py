"""The routes of the application, without a network, and the arguments of `serve`."""

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

from serving.client import Client, FakeShelf, ask, serving

from charlm.errors import CharlmError
from charlm.events import Event, Note, ServerListening
from charlm.network.model_file import TrainedModel
from charlm.serving.guard import Limits
from charlm.serving.models import Page
from charlm.serving.server import listen, make_app, serve

KEY = "Bearer secret"


@pytest.fixture
def client(trained: TrainedModel) -> Client:
    """Return a client of a server with two equal models, a and b."""
    return serving(trained, trained)


def model_entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 9, "owned_by": "charlm"}


def test_all_models_are_listed(client: Client) -> None:
    entries = [model_entry("a"), model_entry("b")]
    assert client.get("/v1/models").json == {"object": "list", "data": entries}


def test_a_model_is_described_by_its_entry(client: Client) -> None:
    assert client.get("/v1/models/b").json == model_entry("b")


# Pages


@pytest.mark.parametrize(("path", "page"), [("/", b"a"), ("/a", b"a"), ("/b", b"b")])
def test_each_model_has_a_page(path: str, page: bytes, client: Client) -> None:
    answer = client.get(path)
    assert (answer.status, answer.body) == (200, page)
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
        ("vary", "Accept-Encoding"),
    ],
)
def test_a_page_has_safe_headers(header: str, value: str, client: Client) -> None:
    assert client.get("/").headers[header] == value


@pytest.mark.parametrize("accepted", ["gzip", "br, GZIP", "gzip;q=0.5", "deflate, gzip; q=1.0"])
def test_a_page_is_compressed_if_the_client_accepts_gzip(accepted: str, client: Client) -> None:
    answer = client.get("/", accept_encoding=accepted)
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == b"a"


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "gzip; q=0.0", "xgzip"])
def test_a_page_is_not_compressed_for_other_clients(accepted: str, client: Client) -> None:
    answer = client.get("/", accept_encoding=accepted)
    assert "content-encoding" not in answer.headers
    assert answer.body == b"a"


def test_every_form_of_every_page_has_another_etag(client: Client) -> None:
    plain = client.get("/a")
    compressed = client.get("/a", accept_encoding="gzip")
    other = client.get("/b")
    assert len({answer.headers["etag"] for answer in (plain, compressed, other)}) == 3


def test_a_page_that_the_client_has_is_not_sent_again(client: Client) -> None:
    etag = client.get("/a").headers["etag"]
    answer = client.get("/a", if_none_match=f'"x", W/{etag}')
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)


def test_another_page_is_sent_to_a_client_that_has_one(client: Client) -> None:
    etag = client.get("/a").headers["etag"]
    assert client.get("/b", if_none_match=etag).status == 200


class SlowModel:
    """A model that counts how many threads make its page."""

    makers = 0
    most = 0

    @property
    def page(self) -> Page:
        """Page that takes some time to make."""
        self.makers += 1
        self.most = max(self.most, self.makers)
        time.sleep(0.005)
        self.makers -= 1
        return Page.of(b"")


class SlowShelf(FakeShelf):
    """A shelf with a single slow model."""

    model = SlowModel()

    async def find(self, name: str | None) -> Any:
        """Return the model."""
        return self.model


def test_one_page_is_made_at_a_time() -> None:
    async def ask_three_times() -> None:
        app = make_app(SlowShelf())
        await asyncio.gather(*(ask(app, "GET /") for _ in range(3)))

    asyncio.run(ask_three_times())
    assert SlowShelf.model.most == 1


# Texts


@pytest.mark.parametrize(("model", "name"), [(None, "a"), ("b", "b")])
def test_the_named_model_answers(model: str | None, name: str, client: Client) -> None:
    answer = client.post("/v1/completions", {"model": model, "max_tokens": 3})
    assert (answer.status, answer.json["model"]) == (200, name)
    assert answer.json["object"] == "text_completion"


def test_an_answer_is_neither_stored_nor_guessed_at(client: Client) -> None:
    headers = client.post("/v1/completions", {"max_tokens": 3}).headers
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_a_streamed_answer_is_a_row_of_events(client: Client) -> None:
    messages = [{"role": "user", "content": "a"}]
    body = {"messages": messages, "max_tokens": 3, "stream": True}
    answer = client.post("/v1/chat/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, *_, last, end = answer.body.decode().split("\n\n")
    assert json.loads(first.removeprefix("data: "))["object"] == "chat.completion.chunk"
    assert (last, end) == ("data: [DONE]", "")


def test_other_requests_have_a_turn_between_long_bodies(trained: TrainedModel) -> None:
    app = make_app(FakeShelf(trained))
    body = {"prompt": ["", [5] * 10_000]}

    async def count_before_health() -> int:
        long = [asyncio.create_task(ask(app, "POST /v1/completions", body)) for _ in range(5)]
        await asyncio.create_task(ask(app, "GET /health"))
        done = sum(task.done() for task in long)
        await asyncio.gather(*long)
        return done

    assert asyncio.run(count_before_health()) <= 1


def test_health_needs_neither_key_nor_known_host(trained: TrainedModel) -> None:
    answer = serving(trained, key="secret").get("/health", host="evil.example")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


# Tokenizer: the ids of the model are a line break, a, b, the unknown id and the end of a text


def test_a_text_has_the_ids_of_its_characters(client: Client) -> None:
    body = {"prompt": "ab?\n", "add_special_tokens": False}
    tokens = {"tokens": [1, 2, 3, 0], "count": 4, "max_model_len": 65_536}
    assert client.post("/tokenize", body).json == tokens


def test_ids_have_a_text(client: Client) -> None:
    answer = client.post("/detokenize", {"tokens": [1, 2, 3, 4, 0]})
    assert answer.json == {"prompt": "ab\ufffd\n"}


def test_the_end_of_text_has_a_name(client: Client) -> None:
    info = client.get("/tokenizer_info").json
    assert (info["bos_token"], info["eos_token"]) == ("<|endoftext|>", "<|endoftext|>")


def test_the_name_of_the_end_of_text_has_one_id(client: Client) -> None:
    assert client.post("/tokenize", {"prompt": "<|endoftext|>"}).json["tokens"] == [4]


def test_a_model_without_an_end_of_text_has_no_name_for_it() -> None:
    plain = serving(make_random_model("<|endoftx>"))
    assert plain.get("/tokenizer_info").json["bos_token"] is None
    assert plain.post("/tokenize", {"prompt": "<|endoftext|>"}).json["count"] == 13


@pytest.mark.parametrize(
    "body", [{"tokens": [5]}, {"tokens": [-1]}, {"tokens": ["a"]}, {}], ids=str
)
def test_a_body_without_valid_ids_is_refused(body: dict[str, Any], client: Client) -> None:
    answer = client.post("/detokenize", body)
    assert (answer.status, answer.error["param"]) == (400, "tokens")
    assert answer.error["type"] == "invalid_request_error"


# Refusals


def refused(
    name: str,
    request: str,
    error: tuple[int, str | None],
    body: Any = b"",
    **headers: str,
) -> Any:
    """Return a case: a request, and the status and code of its error."""
    return pytest.param(request, body, headers, error, id=name)


@pytest.mark.parametrize(
    ("request_line", "body", "headers", "error"),
    [
        refused("page", "GET /other", (404, "model_not_found")),
        refused("model", "GET /v1/models/other", (404, "model_not_found")),
        refused("empty name", "GET /v1/models/", (404, None)),
        refused("path", "GET /a/b", (404, None)),
        refused("method", "GET /v1/completions", (405, None)),
        refused("largest body", "POST /v1/completions", (400, None), b" " * (1 << 20)),
        refused(
            "too large", "POST /v1/completions", (413, "body_too_large"), b" " * ((1 << 20) + 1)
        ),
        refused(
            "model in body", "POST /v1/completions", (404, "model_not_found"), {"model": "\u202e"}
        ),
        refused("host", "GET /", (403, "host_not_allowed"), host="evil.example"),
        refused("origin", "GET /", (403, "origin_not_allowed"), origin="null"),
    ],
)
def test_a_wrong_request_is_refused_with_an_error_object(
    request_line: str,
    body: Any,
    headers: dict[str, str],
    error: tuple[int, str | None],
    client: Client,
) -> None:
    answer = client.request(request_line, body, **headers)
    assert (answer.status, answer.error["code"]) == error
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["message"].isprintable()
    assert "access-control-allow-origin" not in answer.headers


def test_a_wrong_method_is_answered_with_the_right_one(client: Client) -> None:
    answer = client.get("/v1/completions")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.error["message"] == "Method Not Allowed; use POST"


def test_unknown_characters_of_prompts_are_counted() -> None:
    client = serving(make_random_model("\nabc"))
    answer = client.post("/v1/completions", {"prompt": ["aXX", "\u65e5X", "b"], "max_tokens": 1})
    assert answer.json["left_out"] == {"X": 3, "\u65e5": 1}


def test_known_characters_are_not_counted(client: Client) -> None:
    answer = client.post("/v1/completions", {"prompt": "ab", "max_tokens": 1})
    assert "left_out" not in answer.json


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        pytest.param([b" " * 6, b" " * 4], 400, id="10 bytes"),
        pytest.param([b" " * 6, b" " * 5], 413, id="11 bytes"),
        pytest.param([b" " * 11, b" ", b" "], 413, id="first chunk too large"),
    ],
)
def test_the_size_of_a_body_in_chunks_is_limited(
    chunks: list[bytes],
    status: int,
    trained: TrainedModel,
) -> None:
    answer = serving(trained, limits=Limits(body_bytes=10)).post("/v1/completions", chunks)
    assert answer.status == status


def test_a_body_in_chunks_is_read_as_a_whole(trained: TrainedModel) -> None:
    chunks = [b'{"prompt": "a",', b' "max_tokens": 3, "temperature": 0}']
    answer = serving(trained).post("/v1/completions", chunks)
    whole = {"prompt": "a", "max_tokens": 3, "temperature": 0}
    expected = serving(trained).post("/v1/completions", whole)
    assert answer.json["choices"] == expected.json["choices"]
    assert answer.json["choices"][0]["text"] == "a"


@pytest.mark.parametrize("request_line", ["GET /", "GET /v1/models", "POST /v1/completions"])
def test_a_request_without_the_key_is_refused(request_line: str, trained: TrainedModel) -> None:
    answer = serving(trained, key="secret").request(request_line)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_request_with_the_key_is_answered(trained: TrainedModel) -> None:
    assert serving(trained, key="secret").get("/", authorization=KEY).status == 200


@pytest.fixture
def broken(trained: TrainedModel) -> Client:
    """Return a client of a server whose model computes NaN."""
    tensors = {"logits.bias": np.full(5, np.nan, np.float32)}
    parameters = with_tensors(trained.parameters, tensors)
    return serving(replace(trained, parameters=parameters))


def test_a_model_that_computes_nan_is_an_error(broken: Client) -> None:
    answer = broken.post("/v1/completions", {})
    assert (answer.status, answer.error["code"]) == (422, "unusable_model")


def test_a_model_that_computes_nan_ends_a_streamed_answer_with_an_error(broken: Client) -> None:
    events = broken.post("/v1/completions", {"stream": True}).body
    assert json.loads(events.removeprefix(b"data: "))["error"]["code"] == "unusable_model"


# `serve` before it listens


def notes_of_a_start(model_file: Path, host: str, key: str | None) -> list[str]:
    """Return the notes of a server before it listens."""
    messages: list[str] = []

    def stop_at_listening(event: Event) -> None:
        if isinstance(event, ServerListening):
            raise EOFError
        assert isinstance(event, Note)
        messages.append(event.message)

    with pytest.raises(EOFError):
        serve([model_file], host=host, port=0, key=key, on_event=stop_at_listening)
    return messages


def test_the_page_is_noted(model_file: Path) -> None:
    (note,) = notes_of_a_start(model_file, "127.0.0.1", None)
    assert note.startswith("page for browsers: http://127.0.0.1:")


def test_the_page_is_not_noted_if_it_needs_a_key(model_file: Path) -> None:
    assert notes_of_a_start(model_file, "0.0.0.0", "secret") == []


def test_an_open_address_without_a_key_is_warned_of(model_file: Path) -> None:
    warning, _ = notes_of_a_start(model_file, "0.0.0.0", None)
    assert warning.startswith("--host 0.0.0.0: other machines can use the server without a key")


@pytest.mark.parametrize("key", ["", " secret", "secret\n", "cl\u00e9", "a\tb"])
def test_a_key_that_no_request_can_carry_is_refused(key: str, model_file: Path) -> None:
    message = r"^key \(CHARLM_API_KEY\): must be printable ASCII"
    with pytest.raises(CharlmError, match=message) as caught:
        serve([model_file], host="127.0.0.1", port=0, key=key)
    assert not key.strip() or key.strip() not in str(caught.value)


def test_a_connection_sends_small_answers_immediately() -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            assert connection.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY on no other"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("runs", 5),
        ("runs", ""),
        ("host", 5),
        ("host", ""),
        ("port", -1),
        ("port", "80"),
        ("key", 5),
        ("allow_hosts", [5]),
        ("allow_hosts", 5),
        ("allow_origins", [None]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(argument: str, value: Any, model_file: Path) -> None:
    with pytest.raises(CharlmError, match=rf"^{argument}: "):
        serve(**{"runs": [model_file], argument: value})
