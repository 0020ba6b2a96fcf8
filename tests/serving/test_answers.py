"""Pieces of text with their tokens -> the objects of the OpenAI API."""

import json
from collections.abc import Sequence
from typing import Any

from charlm.serving.answers import AnswerForm, to_json
from charlm.serving.writing import Piece, Token

COMPLETION = AnswerForm("completion", "plays", answer_id="1", created=2)
CHAT = AnswerForm("chat", "plays", includes_usage=True, answer_id="1", created=2)
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def events(data: bytes) -> list[Any]:
    parts = data.decode().removesuffix("\n\n").split("\n\n")
    assert all(part.startswith("data: {") and "\n" not in part for part in parts)
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def whole(form: AnswerForm, texts: Sequence[Sequence[Piece]]) -> Any:
    """Return an answer that is not streamed."""
    return json.loads(to_json(form.whole(texts, USAGE)))


def test_a_completion_joins_the_pieces_of_each_text() -> None:
    answer = whole(COMPLETION, [[Piece("a"), Piece("b", (), "stop")], [Piece("c", (), "length")]])
    assert answer == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 2,
        "model": "plays",
        "choices": [
            {"index": 0, "text": "ab", "logprobs": None, "finish_reason": "stop"},
            {"index": 1, "text": "c", "logprobs": None, "finish_reason": "length"},
        ],
        "usage": USAGE,
    }


def test_tokens_are_written_in_the_legacy_form() -> None:
    form = AnswerForm("completion", "plays", has_logprobs=True)
    pieces = [Piece("a", (Token("a", -2.0, {}),)), Piece("b", (Token("b", -1.0, {"c": -0.5, "b": -1.0}),), "stop")]
    assert whole(form, [pieces])["choices"][0]["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [-2.0, -1.0],
        "top_logprobs": [None, {"c": -0.5, "b": -1.0}],
    }


def test_a_chat_is_a_message_of_the_assistant() -> None:
    answer = whole(CHAT, [[Piece("a\n", (), "stop")]])
    assert (answer["id"], answer["object"]) == ("chatcmpl-1", "chat.completion")
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "a\n", "refusal": None}


def test_events_of_a_completion_carry_pieces_of_text() -> None:
    (event,) = events(COMPLETION.event(1, Piece("\n\n\u2028", (), "stop")))
    assert event["choices"] == [{"index": 1, "text": "\n\n\u2028", "logprobs": None, "finish_reason": "stop"}]
    assert "usage" not in event
    assert (COMPLETION.opening_events(2), COMPLETION.closing_events(USAGE)) == (b"", b"data: [DONE]\n\n")


def test_events_of_a_chat_begin_with_the_role_and_end_with_the_usage() -> None:
    first, second = events(CHAT.opening_events(2))
    assert first["object"] == "chat.completion.chunk"
    assert [one["choices"][0]["index"] for one in (first, second)] == [0, 1]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events(CHAT.event(0, Piece("a")))[0]["choices"][0]["delta"] == {"content": "a"}
    (last,) = events(CHAT.event(0, Piece("", (), "stop")))
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"], last["usage"]) == ({}, "stop", None)
    (usage,) = events(CHAT.closing_events(USAGE).removesuffix(b"data: [DONE]\n\n"))
    assert (usage["choices"], usage["usage"]) == ([], USAGE)
