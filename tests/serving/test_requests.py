"""Bodies of requests: what they ask for, and what is refused by name."""

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

MESSAGES = [{"role": "user", "content": "hi"}]


def completion(**fields: Any) -> CompletionRequest:
    return parse_request(CompletionRequest, json.dumps(fields).encode())


def chat(**fields: Any) -> ChatRequest:
    return parse_request(ChatRequest, json.dumps({"messages": MESSAGES, **fields}).encode())


def test_prompt_and_stop_are_a_text_or_a_list() -> None:
    for given, prompt, stop in (
        ("ab", ["ab"], ["ab"]),
        (["ab", "c"], ["ab", "c"], ["ab", "c"]),
        (None, [""], []),
    ):
        wanted = completion(prompt=given, stop=given)
        assert (wanted.prompt, wanted.stop) == (prompt, stop)


def test_a_chat_is_read_as_lines_and_the_length_of_a_text_has_a_default() -> None:
    parts = [{"type": "text", "text": "you "}, {"type": "text", "text": "there"}]
    wanted = chat(
        messages=[
            {"role": "system", "content": "Hear"},
            {"role": "user", "content": parts, "name": None},
        ]
    )
    assert wanted.prompts == ["Hear\nyou there"]
    assert (completion().length, chat().length, chat(max_tokens=9).length) == (16, 256, 9)
    assert chat(max_completion_tokens=3).length == 3


BORDERS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    *(({"temperature": 100}, {"temperature": 100.1}), ({"temperature": 0}, {"temperature": -0.1})),
    *(
        ({"top_p": 1}, {"top_p": 1.1}),
        ({"top_p": 1e-9}, {"top_p": 0}),
        ({"top_k": 1}, {"top_k": 0}),
    ),
    *(
        ({"min_p": 1}, {"min_p": 1.1}),
        ({"min_p": 0}, {"min_p": -0.1}),
        ({"n": 128}, {"n": 129}),
        ({}, {"n": 0}),
    ),
    *(
        ({"seed": 2**63 - 1}, {"seed": 2**63}),
        ({"seed": 0}, {"seed": -1}),
        ({"model": "3"}, {"model": 3}),
    ),
    *(
        ({"max_tokens": 1}, {"max_tokens": 0}),
        ({"max_tokens": 0, "echo": True}, {"echo": 1}),
        ({"max_tokens": 65_536}, {"max_tokens": 65_537}),
    ),
    *(
        ({}, {"max_tokens": True}),
        ({}, {"max_tokens": 10**18}),
        ({"max_tokens": 32_768, "n": 2}, {}),
    ),
    *(
        ({}, {"max_tokens": 32_769, "n": 2}),
        ({"logprobs": 20}, {"logprobs": 21}),
        ({"logprobs": 2, "max_tokens": 65_536}, {"logprobs": 3, "max_tokens": 65_536}),
        ({}, {"logprobs": -1}),
    ),
    *(({"stop": ["a"] * 16}, {"stop": ["a"] * 17}), ({"stop": "a" * 1000}, {"stop": "a" * 1001})),
    *(({}, {"stop": ""}), ({"prompt": ["a"] * 64, "n": 2}, {"n": 2, "prompt": ["a"] * 65})),
    *(({"prompt": "a" * 65_536}, {"prompt": "a" * 65_537}), ({}, {"prompt": ["a" * 33_000] * 2})),
    *(
        ({"prompt": ""}, {"prompt": []}),
        ({"prompt": [3] * 65_536}, {"prompt": [3] * 65_537}),
        ({}, {"prompt": [[0.5]]}),
        ({}, {"prompt": "\ud800"}),
    ),
    *(
        ({"prompt": "\u0301" * 999}, {"prompt": "\u0301" * 1001}),
        ({}, {"stop": "\ud800"}),
        ({}, {"functions": []}),
    ),
)
"""Fields that are taken, and others that are not; {} = none to try."""


def test_a_value_at_its_border_is_taken_and_one_beyond_refused() -> None:
    for taken, refused in BORDERS:
        completion(**taken)
        if refused:
            check_refusal(CompletionRequest, json.dumps(refused).encode(), next(iter(refused)))


def check_refusal(kind: Any, body: bytes, name: str | None, message: str = "") -> None:
    """Check that a body is refused in one line that names a field."""
    with pytest.raises(RequestError) as caught:
        parse_request(kind, body)
    error = caught.value
    assert (error.status, error.param) == (400, name)
    assert error.message.removeprefix("the body: ").startswith(message or name or "")
    assert error.message.isprintable()
    assert len(error.message) <= 500


def test_what_a_chat_does_not_support_is_refused() -> None:
    wrong: list[dict[str, Any]] = [
        *(
            {"messages": []},
            {"messages": [{"role": "tool", "content": "a"}]},
            {"messages": [{"role": "user"}]},
        ),
        *(
            {"messages": [{**MESSAGES[0], **wrong}]}
            for wrong in ({"name": 5}, {"content": "\ud800"}, {"annotations": [1]})
        ),
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
            ]
        },
        {"messages": [{"role": "user", "content": "a" * 65_537}]},
        *(
            {"tools": [{"type": "function"}]},
            {"response_format": {"type": "json_object"}},
            {"logprobs": 1},
        ),
    ]
    for fields in wrong:
        check_refusal(
            ChatRequest, json.dumps({"messages": MESSAGES, **fields}).encode(), next(iter(fields))
        )


def test_what_is_not_a_json_object_is_refused() -> None:
    for body in (b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000):
        check_refusal(CompletionRequest, body, None)
    for number in (b"NaN", b"1e999", b"9" * 4000):
        check_refusal(
            CompletionRequest,
            b'{"temperature": ' + number + b"}",
            "temperature",
            "temperature: found ",
        )
    check_refusal(CompletionRequest, b'{"seed":' + b"9" * 5000 + b"}", None)


def test_the_message_has_the_field_what_was_found_and_what_would_do() -> None:
    for body, message in (
        (
            b'{"temprature": 1}',
            "temprature: found 1; there is no such key; did you mean temperature?",
        ),
        (b'{"prompt": 5}', "prompt: found 5; must be a valid string or list"),
        (
            b'{"n": 3, "max_tokens": 60000}',
            "max_tokens: 180,000 characters to generate, over all texts; must be at most 65,536",
        ),
    ):
        check_refusal(CompletionRequest, body, message.partition(":")[0], message)


NEUTRAL = {
    "frequency_penalty": 0.0,
    "presence_penalty": 0,
    "best_of": 1,
    "echo": False,
    "logit_bias": {},
    "suffix": "",
}


def test_fields_that_are_not_used_have_no_effect() -> None:
    assert completion(**NEUTRAL, store=False, service_tier="auto") == completion()
    assert completion(n=3, best_of=3) == completion(n=3)
    chat_fields = {
        "logprobs": False,
        "top_logprobs": 0,
        "response_format": {"type": "text"},
        "tools": [],
    }
    assert (
        chat(**chat_fields, tool_choice="none", parallel_tool_calls=True, reasoning_effort="none")
        == chat()
    )
    assert chat(stream_options={"include_obfuscation": False}) == chat()


@pytest.mark.parametrize(
    "field",
    [
        {"user": "me"},
        {"safety_identifier": "me"},
        {"prompt_cache_key": "x"},
        {"metadata": {"a": "b"}},
    ],
    ids=lambda field: next(iter(field)),
)
def test_fields_for_the_use_of_the_caller_have_no_effect(field: dict[str, Any]) -> None:
    name = next(iter(field))
    assert chat(**field).model_copy(update={name: chat().model_dump()[name]}) == chat()


def test_messages_may_have_a_name_and_no_annotations() -> None:
    assert chat(messages=[{**MESSAGES[0], "name": "me", "annotations": []}]).prompts == ["hi"]


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
def test_fields_that_would_be_used_are_refused_by_name(name: str, value: Any) -> None:
    body = json.dumps({name: value}).encode()
    check_refusal(CompletionRequest, body, name, f"{name}: found {json.dumps(value)}; must be ")


LONG_IN_NFC = "\U0001d160"  # three characters in the normal form that models read


@pytest.mark.parametrize("kind", [CompletionRequest, TokenizeRequest])
def test_a_prompt_is_as_long_as_in_the_normal_form_of_models(kind: Any) -> None:
    assert len(unicodedata.normalize("NFC", LONG_IN_NFC)) == 3
    parse_request(kind, json.dumps({"prompt": LONG_IN_NFC * 21_845}).encode())
    check_refusal(kind, json.dumps({"prompt": LONG_IN_NFC * 21_846}).encode(), "prompt")


@pytest.mark.parametrize("name", ["a.b", "a:b", ""])
def test_a_refused_field_is_named_in_full(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        completion(**{name: 1})
    assert caught.value.param == name


@pytest.mark.parametrize(
    "fields",
    [{"stop": [0] * 9}, {"prompt": [{}] * 9}, {"messages": [{}] * 9},
     {"messages": [{"role": "user", "content": [{}] * 9}]}],
    ids=["stop", "prompt", "messages", "parts"],
)  # fmt: skip
def test_one_wrong_item_ends_the_check_of_a_list(fields: dict[str, Any]) -> None:
    kind: Any = ChatRequest if "messages" in fields else CompletionRequest
    with pytest.raises(RequestError) as caught:
        parse_request(kind, json.dumps(fields).encode())
    found = caught.value.__context__
    assert isinstance(found, ValidationError)
    assert {problem["loc"][:2] for problem in found.errors()} == {(next(iter(fields)), 0)}
