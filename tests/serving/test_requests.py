"""Bodies of requests: what they ask for, and what is refused by name."""

import json
from typing import Any

import pytest

from charlm.serving.answers import AnswerForm, Piece
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
        *({"prompt": []}, {"max_tokens": -1}, {"max_tokens": True}, {"logprobs": 21}, {"stop": ""}),
        {"stop": ["a"] * 17},
    ],
    ids=str,
)
def test_a_value_out_of_range_or_of_another_type_is_refused_with_its_field(fields: dict[str, Any]) -> None:
    (name,) = fields
    error = refusal(json.dumps(fields).encode())
    assert error.param == name
    assert error.message.startswith(name)


@pytest.mark.parametrize(
    ("name", "neutral", "wanted"),
    [
        *(("frequency_penalty", 0, 0.5), ("presence_penalty", 0.0, -1), ("logit_bias", {}, {"3": 1})),
        *(("best_of", 1, 2), ("suffix", "", "end"), ("echo", False, True), ("store", False, True)),
        *(("response_format", {"type": "text"}, {"type": "json_object"}), ("metadata", {}, {"a": "b"})),
        *(("reasoning_effort", "none", "high"), ("reasoning_effort", None, "low"), ("top_logprobs", 0, 2)),
        *(("modalities", ["text"], ["audio"]), ("tool_choice", "none", "required"), ("service_tier", "auto", "flex")),
        *(("tools", [], [{"type": "function"}]), ("web_search_options", None, {})),
    ],
)
def test_what_is_not_supported_is_refused_unless_it_asks_for_nothing(name: str, neutral: Any, wanted: Any) -> None:
    is_chat = name not in CompletionRequest.model_fields
    for value in (neutral, None):
        chat(**{name: value}) if is_chat else completion(**{name: value})
    fields = {"messages": MESSAGES, name: wanted} if is_chat else {name: wanted}
    error = refusal(json.dumps(fields).encode(), is_chat=is_chat)
    assert error.param == name
    assert is_chat or "not supported" in error.message


def test_an_unknown_field_is_refused_with_the_nearest() -> None:
    assert refusal(b'{"temprature": 1}').message == "temprature: is not supported by charlm; did you mean temperature?"
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


def test_a_chat_is_read_as_lines() -> None:
    parts = [{"type": "text", "text": "you "}, {"type": "text", "text": "there"}]
    wanted = chat(messages=[{"role": "system", "content": "Hear"}, {"role": "user", "content": parts, "name": None}])
    assert wanted.prompt == "Hear\nyou there"


def test_an_answer_comes_back_as_part_of_the_next_turn() -> None:
    form = AnswerForm("chat", "m")
    first = json.loads(b"".join(form.whole([[Piece("there", finish_reason="stop")]], {})))
    of_a_client = {"annotations": None, "audio": None, "function_call": None, "tool_calls": None}
    message = {**first["choices"][0]["message"], **of_a_client}
    assert chat(messages=[*MESSAGES, message, {"role": "user", "content": "?"}]).prompt == "hi\nthere\n?"
    assert chat(messages=[{**message, "tool_calls": [], "annotations": []}]).prompt == "there"


def test_a_long_stop_text_and_a_long_number_are_refused_in_their_own_units() -> None:
    assert "must have 1,000 characters or fewer" in refusal(json.dumps({"stop": "a" * 1001}).encode()).message
    for digits, count in ((5000, "5,000"), (101, "101")):
        refused = refusal(b'{"seed": ' + b"9" * digits + b"}").message
        assert refused == f"the body has a number of {count} digits; must have 100 at most"
    assert "digits" not in refusal(b'{"seed": ' + b"9" * 100 + b"}").message


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
