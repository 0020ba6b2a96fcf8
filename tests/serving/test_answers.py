"""A request -> its texts, those of `charlm sample` whatever else is written -> the objects of the OpenAI API."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference

from charlm.network.model_file import TrainedModel
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.serving.answers import TURN, Answer, Chunk, Token, Turnstile
from charlm.serving.models import ServedModel
from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError, parse_request
from charlm.text.vocabulary import Vocabulary

MESSAGES = [{"role": "user", "content": "ab"}]


def answer(trained: TrainedModel, *, is_chat: bool = False, **fields: Any) -> Answer:
    body = json.dumps({"max_tokens": 100, "seed": 5, **fields}).encode()
    wanted = parse_request(ChatRequest, body) if is_chat else parse_request(CompletionRequest, body)
    return Answer(ServedModel("m", trained, 0), wanted)


def endless(trained: TrainedModel) -> TrainedModel:
    """Return the model whose texts end by their length alone."""
    return replace(trained, vocabulary=Vocabulary(("\n", "a", "b", "c", "d")))


def listed(written: AsyncIterator[Any]) -> list[Any]:
    async def read() -> list[Any]:
        return [each async for each in written]

    return asyncio.run(read())


def texts(wanted: Answer) -> list[str]:
    """Return the whole texts of an answer."""
    found = [""] * wanted.count
    for index, chunk in listed(wanted.chunks()):
        found[index] += chunk.text
    return found


def sampled(
    trained: TrainedModel, prompt: str, *, seed: int = 5, length: int = 100, **options: Any
) -> str:
    return str(generate_text(trained, TextRequest(length, Sampler(**options), seed, prompt=prompt)))


def test_a_text_is_that_of_sample_with_the_seed_of_the_request_plus_its_number(
    trained: TrainedModel,
) -> None:
    settings: dict[str, Any] = {"temperature": 1.7, "top_k": 3, "top_p": 0.9, "min_p": 0.01}
    for model in (trained, endless(trained)):
        found = texts(answer(model, prompt=["ab", "b\na"], n=3, **settings))
        assert found == [
            sampled(model, prompt, seed=5 + k, **settings)
            for prompt in ("ab", "b\na")
            for k in range(3)
        ]
        chat = answer(
            model,
            is_chat=True,
            messages=[{"role": "user", "content": text} for text in ("ab", "xb")],
        )
        assert texts(chat) == [sampled(model, "ab\nxb")]
    assert {*map(len, found)} == {100}
    assert len({*found}) >= 3  # by their seeds


def test_requests_write_in_turn_and_do_not_change_each_other(trained: TrainedModel) -> None:
    order: list[str] = []

    async def write(name: str, wanted: Answer) -> str:
        text = ""
        async for _, chunk in wanted.chunks():
            order.append(name)
            text += chunk.text
        return text

    async def both() -> list[str]:
        long, short = (
            answer(endless(trained), prompt="ab", max_tokens=TURN * count) for count in (20, 2)
        )
        return [*await asyncio.gather(write("long", long), write("short", short))]

    long, short = asyncio.run(both())
    assert long.startswith(short)
    assert len(short) == TURN * 2
    assert order.index("short") <= 2
    assert len(order) - order[::-1].index("short") <= 6


def test_the_event_loop_has_a_turn_between_any_two_parts_of_the_work() -> None:
    async def find_most_at_once() -> int:
        turns = Turnstile()
        done = 0

        async def work() -> None:
            nonlocal done
            for _ in range(3):
                await turns.wait()
                done += 1

        tasks = [asyncio.create_task(work()) for _ in range(5)]
        most = 0
        while not all(task.done() for task in tasks):
            before = done
            await asyncio.sleep(0)
            most = max(most, done - before)
        assert done == 15
        return most

    assert asyncio.run(find_most_at_once()) == 1


def test_the_log_probabilities_are_those_of_the_model_itself(trained: TrainedModel) -> None:
    model = replace(trained, vocabulary=Vocabulary(("\n", "a", "b", "c", None), unknown_id=4))
    for count in (0, 2, 20):
        chunks = listed(
            answer(model, prompt="ab", logprobs=count, temperature=0.5, max_tokens=40).chunks()
        )
        tokens = [token for _, chunk in chunks for token in chunk.tokens]
        text = "".join(chunk.text for _, chunk in chunks)
        assert "".join(token.text for token in tokens) == text
        assert len(text) == 40
        ids = model.vocabulary.encode("ab" + text).tolist()
        logits = reference.read(model.parameters, ids)[0][:, :4]  # the unknown id is never chosen
        logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        for token, index, expected in zip(tokens, ids[2:], logprobs[1:-1], strict=True):
            assert token.logprob == pytest.approx(expected[index], abs=1e-4)
            named = {*np.argsort(-expected)[:count].tolist(), index}
            likeliest = {
                model.vocabulary.names[each]: pytest.approx(expected[each], abs=1e-4)
                for each in named
            }
            assert token.likeliest == (likeliest if count else None)


@pytest.mark.parametrize("length", [1, 2, 256, 257, 600])
def test_a_repeated_prompt_has_the_log_probabilities_of_its_characters(
    length: int, trained: TrainedModel
) -> None:
    prompt = "".join(np.random.default_rng(length).choice([*"ab\n"], length))
    wanted = answer(endless(trained), prompt=prompt, echo=True, logprobs=1, max_tokens=5)
    chunks = [chunk for _, chunk in listed(wanted.chunks())]
    text = "".join(chunk.text for chunk in chunks)
    assert text == prompt + sampled(endless(trained), prompt, length=5)
    tokens = [token for chunk in chunks for token in chunk.tokens]
    assert ("".join(token.text for token in tokens), [token.offset for token in tokens]) == (
        text,
        [*range(len(text))],
    )
    logits = reference.read(trained.parameters, endless(trained).vocabulary.encode(text).tolist())[
        0
    ]
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    ids = endless(trained).vocabulary.encode(text)
    expected = [row[index] for row, index in zip(logprobs, ids[1:], strict=False)]
    assert (tokens[0].logprob, tokens[0].likeliest) == (None, None)
    np.testing.assert_allclose([token.logprob for token in tokens[1:]], expected, atol=1e-4)
    for token, row in zip(tokens[1:], logprobs, strict=False):
        assert max((token.likeliest or {}).values()) == pytest.approx(row.max(), abs=1e-4)


def test_a_prompt_can_be_repeated_without_a_text_after_it(trained: TrainedModel) -> None:
    wanted = answer(trained, prompt=["ab", ""], echo=True, max_tokens=0, n=2)
    chunks = listed(wanted.chunks())
    assert [(index, chunk.text) for index, chunk in chunks if chunk.text] == [(0, "ab"), (1, "ab")]
    assert [chunk.finish_reason for _, chunk in chunks if not chunk.text] == ["length"] * 4
    assert wanted.usage() == {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}


def test_a_prompt_may_be_ids_with_reserved_ones(trained: TrainedModel) -> None:
    wanted = answer(trained, prompt=[4, 1, 3, 2], echo=True, logprobs=0, max_tokens=0)
    tokens = [token for _, chunk in listed(wanted.chunks()) for token in chunk.tokens]
    assert [token.text for token in tokens] == ["<|endoftext|>", "a", "<|unknown|>", "b"]
    assert [token.offset for token in tokens] == [0, 0, 1, 2]
    assert texts(wanted) == ["a\ufffdb"]
    assert texts(answer(trained, prompt=[1, 2])) == texts(answer(trained, prompt="ab"))


@pytest.mark.parametrize("index", [-1, 5, 2**62])
def test_an_id_that_the_model_lacks_is_refused(index: int, trained: TrainedModel) -> None:
    with pytest.raises(RequestError, match=f"^prompt: found the id {index}; must be from 0 to 4$"):
        answer(trained, prompt=[1, index])


def test_a_text_ends_before_a_stop_text_with_the_tokens_before_it(trained: TrainedModel) -> None:
    whole = sampled(endless(trained), "ab", length=60)
    stop = whole[20:24]
    wanted = answer(endless(trained), prompt="ab", stop=[stop, "no"], logprobs=0, max_tokens=60)
    ((_, chunk),) = listed(wanted.chunks())
    assert chunk.text == whole[: whole.index(stop)]
    assert ("".join(token.text for token in chunk.tokens), chunk.finish_reason) == (
        chunk.text,
        "stop",
    )
    assert chunk.tokens[0].likeliest is None


def test_usage_counts_what_was_read_and_chosen(trained: TrainedModel) -> None:
    wanted = answer(endless(trained), prompt=["ab", "a"], n=2, max_tokens=7)
    texts(wanted)
    assert wanted.usage() == {
        "prompt_tokens": 3,
        "completion_tokens": 4 * 7,
        "total_tokens": 3 + 4 * 7,
    }
    wanted = answer(trained, prompt="ab", max_tokens=60, seed=1)
    (text,) = texts(wanted)
    assert len(text) < 60  # an end of text is chosen, too
    assert wanted.usage()["completion_tokens"] == len(text) + 1


def test_a_completion_joins_the_pieces_of_each_text_and_has_tokens_in_the_legacy_form(
    trained: TrainedModel,
) -> None:
    found = answer(trained, prompt="ab", n=2).whole(
        [[Chunk("a"), Chunk("b", (), "stop")], [Chunk("c", (), "length")]]
    )
    assert found["id"].startswith("cmpl-")
    assert (found["object"], found["model"]) == ("text_completion", "m")
    ended = {"index": 0, "text": "ab", "finish_reason": "stop", "logprobs": None}
    assert found["choices"] == [
        ended,
        {**ended, "index": 1, "text": "c", "finish_reason": "length"},
    ]
    assert found["usage"] == {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}
    chunks = [
        Chunk("a", (Token("a", -2.0, None, 0),)),
        Chunk("b", (Token("b", -1.0, {"c": -0.5, "b": -1.0}, 1),), "stop"),
    ]
    found = answer(trained, logprobs=1).whole([chunks])["choices"][0]["logprobs"]
    assert (found["tokens"], found["token_logprobs"]) == (["a", "b"], [-2.0, -1.0])
    assert found["top_logprobs"] == [None, {"c": -0.5, "b": -1.0}]
    assert found["text_offset"] == [0, 1]


def test_a_chat_is_a_message_of_the_assistant_that_comes_back_as_part_of_the_next_turn(
    trained: TrainedModel,
) -> None:
    found = answer(trained, is_chat=True, messages=MESSAGES).whole([[Chunk("a\n", (), "stop")]])
    assert (found["id"][:9], found["object"]) == ("chatcmpl-", "chat.completion")
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": "a\n", "refusal": None}
    assert (choice["logprobs"], choice["finish_reason"]) == (None, "stop")
    of_a_client = {"annotations": None, "audio": None, "function_call": None, "tool_calls": None}
    messages = [*MESSAGES, choice["message"] | of_a_client, {"role": "user", "content": "?"}]
    assert parse_request(ChatRequest, json.dumps({"messages": messages}).encode()).prompts == [
        "ab\na\n\n?"
    ]


def test_events_of_a_completion_carry_pieces_of_text(trained: TrainedModel) -> None:
    found = listed(answer(endless(trained), prompt="ab", stream=True).events())
    assert "".join(event["choices"][0]["text"] for event in found) == sampled(
        endless(trained), "ab"
    )
    assert [event["choices"][0]["finish_reason"] for event in found] == [*[None] * 3, "length"]
    assert not any("usage" in event for event in found)


def test_events_of_a_chat_begin_with_the_role_and_end_with_the_usage(trained: TrainedModel) -> None:
    options: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 2,
        "max_tokens": 3,
    }
    found = listed(answer(endless(trained), is_chat=True, messages=MESSAGES, **options).events())
    assert {event["object"] for event in found} == {"chat.completion.chunk"}
    first, second, *texts, usage = found
    assert [one["choices"][0]["index"] for one in (first, second)] == [0, 1]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [text["choices"][0]["finish_reason"] for text in texts] == ["length"] * 2
    assert texts[0]["choices"][0]["delta"] == {"content": sampled(endless(trained), "ab", length=3)}
    assert all(event["usage"] is None for event in (first, second, *texts))
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 6)
