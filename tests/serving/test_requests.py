"""Bodies of requests: what they ask for, and what is refused by name."""

import json
from typing import Any

import pytest

from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError, parse_request

MESSAGES = [{"role": "user", "content": "hi"}]


def completion(**fields: Any) -> CompletionRequest:
    return parse_request(CompletionRequest, json.dumps(fields).encode())


def chat(**fields: Any) -> ChatRequest:
    return parse_request(ChatRequest, json.dumps({"messages": MESSAGES, **fields}).encode())


def refusal(body: bytes, *, is_chat: bool = False) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_request(ChatRequest, body) if is_chat else parse_request(CompletionRequest, body)
    assert caught.value.status == 400
    assert caught.value.message.isprintable()
    assert len(caught.value.message) <= 500
    return caught.value


@pytest.mark.parametrize(
    ("given", "prompt", "stop"), [("ab", ["ab"], ["ab"]), (["ab", "c"], ["ab", "c"], ["ab", "c"]), (None, [""], [])]
)
def test_prompt_and_stop_are_a_text_or_a_list(given: Any, prompt: list[str], stop: list[str]) -> None:
    wanted = completion(prompt=given, stop=given)
    assert (wanted.prompt, wanted.stop) == (prompt, stop)


@pytest.mark.parametrize(
    "fields",
    [
        *({"temperature": -0.1}, {"top_p": 0}, {"top_k": 0}, {"min_p": 2}, {"n": 0}, {"seed": 2**63}, {"model": 3}),
        *({"prompt": []}, {"max_tokens": 0}, {"max_tokens": True}, {"logprobs": 21}, {"stop": ""}),
        *({"stop": ["a"] * 17}, {"stop": "a" * 1001}, {"prompt": [3] * 300_000}, {"prompt": "a" * 65_537}),
        *({"max_tokens": 65_537}, {"max_tokens": 10**4000}, {"n": 129}, {"prompt": "\u0301" * 1001}),
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_a_value_out_of_range_or_of_another_type_is_refused_with_its_field(fields: dict[str, Any]) -> None:
    (name,) = fields
    error = refusal(json.dumps(fields).encode())
    assert error.param == name
    assert error.message.startswith(name)


def test_the_message_has_the_field_what_was_found_and_what_would_do() -> None:
    expected = "temprature: found 1; Extra inputs are not permitted; did you mean temperature?"
    assert refusal(b'{"temprature": 1}').message == expected
    assert refusal(b'{"prompt": 5}').message == "prompt: found 5; Input should be a valid string or list"
    assert refusal(b'{"functions": []}').param == "functions"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000),
        *(b'{"seed":' + b"9" * 5000 + b"}", b'{"temperature": NaN}', b'{"temperature": 1e999}', b'{"\\ud800": 1}'),
    ],
    ids=lambda body: str(body[:12]),
)
def test_what_is_not_a_json_object_of_finite_numbers_is_refused(body: bytes) -> None:
    refusal(body)


def test_the_bounds_are_those_of_all_texts_of_a_request() -> None:
    assert completion(n=2, max_tokens=32_768).length == 32_768
    for fields in ({"n": 2, "max_tokens": 32_769}, {"prompt": ["a"] * 65, "n": 2}, {"prompt": ["a" * 33_000] * 2}):
        assert "at most" in refusal(json.dumps(fields).encode()).message


def test_a_chat_is_read_as_lines() -> None:
    parts = [{"type": "text", "text": "you "}, {"type": "text", "text": "there"}]
    wanted = chat(messages=[{"role": "system", "content": "Hear"}, {"role": "user", "content": parts, "name": None}])
    assert wanted.prompts == ["Hear\nyou there"]


def test_the_length_of_a_text_has_a_default() -> None:
    assert (completion().length, chat().length, chat(max_tokens=9).length) == (16, 256, 9)
    assert chat(max_completion_tokens=3).length == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "tool", "content": "a"}]},
        {"messages": [{"role": "user", "content": "a", "name": "me"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
    ],
    ids=str,
)
def test_what_a_chat_does_not_support_is_refused(fields: dict[str, Any]) -> None:
    (name,) = fields
    assert refusal(json.dumps({"messages": MESSAGES, **fields}).encode(), is_chat=True).param == name
