"""Bodies of requests: their defaults, their limits, and refusals that name the field."""

import json
import unicodedata
from typing import Any

import pytest
from pydantic import ValidationError

from charlm.serving.requests import (
    ChatRequest,
    CompletionRequest,
    RequestError,
    TokenizeRequest,
    parse_request,
)

MESSAGE = {"role": "user", "content": "hi"}


def completion(**fields: Any) -> CompletionRequest:
    return parse_request(CompletionRequest, json.dumps(fields).encode())


def chat(**fields: Any) -> ChatRequest:
    return parse_request(ChatRequest, json.dumps({"messages": [MESSAGE], **fields}).encode())


def refusal(kind: Any, body: str | bytes) -> RequestError:
    """Return the error for a body, after checking its form."""
    data = body.encode() if isinstance(body, str) else body
    with pytest.raises(RequestError) as caught:
        parse_request(kind, data)
    error = caught.value
    assert error.status == 400
    assert error.message.isprintable()
    assert len(error.message) <= 500
    return error


def rows(table: str) -> list[str]:
    """Return the lines of a table."""
    return table.strip().splitlines()


# Values


@pytest.mark.parametrize(
    ("value", "items"),
    [("ab", ["ab"]), (["ab", "c"], ["ab", "c"])],
    ids=["text", "list"],
)
def test_prompt_or_stop_is_a_text_or_a_list(value: Any, items: list[str]) -> None:
    request = completion(prompt=value, stop=value)
    assert request.prompt == items
    assert request.stop == items


def test_a_null_field_has_its_default() -> None:
    request = completion(prompt=None, stop=None)
    assert (request.prompt, request.stop) == ([""], [])


def test_the_prompt_of_a_chat_has_a_line_for_each_message() -> None:
    parts = [{"type": "text", "text": "you "}, {"type": "text", "text": "there"}]
    system = {"role": "system", "content": "Hear"}
    user = {"role": "user", "content": parts, "name": None}
    assert chat(messages=[system, user]).prompts == ["Hear\nyou there"]


@pytest.mark.parametrize(
    ("request_", "length"),
    [
        pytest.param(completion(), 16, id="completion"),
        pytest.param(completion(max_tokens=9), 9, id="completion of 9"),
        pytest.param(chat(), 256, id="chat"),
        pytest.param(chat(max_tokens=9), 9, id="chat of 9"),
        pytest.param(chat(max_tokens=9, max_completion_tokens=3), 3, id="completion of a chat"),
    ],
)
def test_a_text_has_a_largest_length(
    request_: CompletionRequest | ChatRequest, length: int
) -> None:
    assert request_.length == length


ACCEPTED = """
{"temperature": 0}
{"temperature": 100}
{"top_p": 1e-9}
{"top_p": 1}
{"top_k": 1}
{"min_p": 0}
{"min_p": 1}
{"n": 128}
{"seed": 0}
{"seed": 9223372036854775807}
{"model": "3"}
{"max_tokens": 1}
{"max_tokens": 0, "echo": true}
{"max_tokens": 65536}
{"max_tokens": 32768, "n": 2}
{"logprobs": 20}
{"logprobs": 2, "max_tokens": 65536}
{"prompt": ""}
"""
"""Values at their limits."""


@pytest.mark.parametrize("body", rows(ACCEPTED))
def test_a_value_at_its_limit_is_accepted(body: str) -> None:
    parse_request(CompletionRequest, body.encode())


REFUSED = """
{"temperature": -0.1}
{"temperature": 100.1}
{"top_p": 0}
{"top_p": 1.1}
{"top_k": 0}
{"min_p": -0.1}
{"min_p": 1.1}
{"n": 0}
{"n": 129}
{"seed": -1}
{"seed": 9223372036854775808}
{"model": 3}
{"max_tokens": 0}
{"echo": 1}
{"max_tokens": 65537}
{"max_tokens": true}
{"max_tokens": 1000000000000000000}
{"max_tokens": 32769, "n": 2}
{"logprobs": -1}
{"logprobs": 21}
{"logprobs": 3, "max_tokens": 65536}
{"stop": ""}
{"stop": "\\ud800"}
{"prompt": []}
{"prompt": [[0.5]]}
{"prompt": "\\ud800"}
{"functions": []}
"""
"""Values beyond their limits; the first field is named."""


@pytest.mark.parametrize("body", rows(REFUSED))
def test_a_value_beyond_its_limit_is_refused_by_name(body: str) -> None:
    (name, *_) = json.loads(body)
    error = refusal(CompletionRequest, body)
    assert error.param == name
    assert error.message.removeprefix("the body: ").startswith(name)


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        pytest.param({"stop": ["a"] * 16}, {"stop": ["a"] * 17}, id="stop texts"),
        pytest.param({"stop": "a" * 1000}, {"stop": "a" * 1001}, id="stop text"),
        pytest.param({"n": 2, "prompt": ["a"] * 64}, {"n": 2, "prompt": ["a"] * 65}, id="texts"),
        pytest.param({"prompt": "a" * 65_536}, {"prompt": "a" * 65_537}, id="prompt"),
        pytest.param({"prompt": ["a" * 32_768] * 2}, {"prompt": ["a" * 32_769] * 2}, id="prompts"),
        pytest.param({"prompt": [3] * 65_536}, {"prompt": [3] * 65_537}, id="ids"),
        pytest.param({"prompt": "\u0301" * 999}, {"prompt": "\u0301" * 1001}, id="marks"),
    ],
)
def test_a_request_has_a_largest_size(accepted: dict[str, Any], refused: dict[str, Any]) -> None:
    completion(**accepted)
    assert refusal(CompletionRequest, json.dumps(refused)).param == next(iter(refused))


LONG_IN_NFC = "\U0001d160"
"""Character that becomes three in the normal form of models."""


def test_a_character_can_be_longer_in_the_normal_form() -> None:
    assert len(unicodedata.normalize("NFC", LONG_IN_NFC)) == 3


@pytest.mark.parametrize("kind", [CompletionRequest, TokenizeRequest])
def test_the_length_of_a_prompt_is_that_of_its_normal_form(kind: Any) -> None:
    parse_request(kind, json.dumps({"prompt": LONG_IN_NFC * 21_845}).encode())
    assert refusal(kind, json.dumps({"prompt": LONG_IN_NFC * 21_846})).param == "prompt"


UNSUPPORTED_CHATS = """
{"messages": []}
{"messages": [{"role": "tool", "content": "a"}]}
{"messages": [{"role": "user"}]}
{"messages": [{"role": "user", "content": "a", "name": 5}]}
{"messages": [{"role": "user", "content": "\\ud800"}]}
{"messages": [{"role": "user", "content": "a", "annotations": [1]}]}
{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}
{"tools": [{"type": "function"}], "messages": [{"role": "user", "content": "a"}]}
{"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "a"}]}
{"logprobs": 1, "messages": [{"role": "user", "content": "a"}]}
"""


@pytest.mark.parametrize("body", rows(UNSUPPORTED_CHATS))
def test_an_unsupported_chat_is_refused_by_name(body: str) -> None:
    (name, *_) = json.loads(body)
    assert refusal(ChatRequest, body).param == name


def test_the_messages_of_a_chat_have_a_largest_length() -> None:
    messages = [{"role": "user", "content": "a" * 65_537}]
    assert refusal(ChatRequest, json.dumps({"messages": messages})).param == "messages"


def test_a_message_may_have_a_name_or_empty_annotations() -> None:
    assert chat(messages=[{**MESSAGE, "name": "me", "annotations": []}]).prompts == ["hi"]


# Messages of errors


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000],
    ids=["empty", "brace", "list", "number", "null", "not UTF-8", "deep list", "deep object"],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    assert refusal(CompletionRequest, body).param is None


@pytest.mark.parametrize("number", ["NaN", "1e999", "9" * 4000], ids=["NaN", "infinite", "long"])
def test_a_number_that_is_not_finite_is_refused_by_name(number: str) -> None:
    error = refusal(CompletionRequest, f'{{"temperature": {number}}}')
    assert error.param == "temperature"
    assert error.message.startswith("the body: temperature: found ")


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    assert refusal(CompletionRequest, f'{{"seed": {"9" * 5000}}}').param is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"temprature": 1}', "found 1; there is no such key; did you mean temperature?"),
        ('{"prompt": 5}', "found 5; must be a valid string or list"),
        (
            '{"max_tokens": 60000, "n": 3}',
            "180,000 characters to generate, over all texts; must be at most 65,536",
        ),
    ],
    ids=["unknown", "type", "size"],
)
def test_the_message_has_the_field_with_its_value_and_the_expected_value(
    body: str, message: str
) -> None:
    (name, *_) = json.loads(body)
    assert refusal(CompletionRequest, body).message.startswith(f"{name}: {message}")


@pytest.mark.parametrize("name", ["a.b", "a:b", ""])
def test_the_whole_name_of_an_unknown_field_is_the_param(name: str) -> None:
    assert refusal(CompletionRequest, json.dumps({name: 1})).param == name


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        pytest.param(CompletionRequest, {"stop": [0] * 9}, id="stop"),
        pytest.param(CompletionRequest, {"prompt": [{}] * 9}, id="prompt"),
        pytest.param(ChatRequest, {"messages": [{}] * 9}, id="messages"),
        pytest.param(ChatRequest, {"messages": [{**MESSAGE, "content": [{}] * 9}]}, id="parts"),
    ],
)
def test_one_wrong_item_ends_the_check_of_a_list(kind: Any, fields: dict[str, Any]) -> None:
    error = refusal(kind, json.dumps(fields)).__context__
    assert isinstance(error, ValidationError)
    first_items = {problem["loc"][:2] for problem in error.errors()}
    assert first_items == {(next(iter(fields)), 0)}


# Fields without an effect


@pytest.mark.parametrize(
    "body",
    rows("""
{"frequency_penalty": 0.0}
{"presence_penalty": 0}
{"best_of": 1}
{"echo": false}
{"logit_bias": {}}
{"suffix": ""}
{"store": false}
{"service_tier": "auto"}
"""),
)
def test_an_unsupported_field_may_have_its_default(body: str) -> None:
    assert parse_request(CompletionRequest, body.encode()) == completion()


def test_best_of_may_be_the_number_of_texts() -> None:
    assert completion(n=3, best_of=3) == completion(n=3)


@pytest.mark.parametrize(
    "body",
    rows("""
{"logprobs": false}
{"top_logprobs": 0}
{"response_format": {"type": "text"}}
{"tools": []}
{"tool_choice": "none"}
{"parallel_tool_calls": true}
{"reasoning_effort": "none"}
{"stream_options": {"include_obfuscation": false}}
"""),
)
def test_an_unsupported_field_of_a_chat_may_have_its_default(body: str) -> None:
    assert chat(**json.loads(body)) == chat()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", "me"),
        ("safety_identifier", "me"),
        ("prompt_cache_key", "x"),
        ("metadata", {"a": "b"}),
    ],
)
def test_a_field_for_the_use_of_the_caller_has_no_effect(name: str, value: Any) -> None:
    default = chat().model_dump()[name]
    assert chat(**{name: value}).model_copy(update={name: default}) == chat()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("best_of", 2),
        ("logit_bias", {"50": 1}),
        ("suffix", "x"),
        ("service_tier", "flex"),
    ],
)
def test_an_unsupported_field_is_refused_if_it_has_an_effect(name: str, value: Any) -> None:
    error = refusal(CompletionRequest, json.dumps({name: value}))
    assert error.param == name
    assert error.message.startswith(f"{name}: found {json.dumps(value)}; charlm supports only ")
