"""The texts of a request, which equal those of `charlm sample`, as objects of the OpenAI API."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
from numpy.typing import NDArray

from charlm.network.model_file import TrainedModel
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.serving.answers import Answer, Chunk, Token, Turnstile
from charlm.serving.models import ServedModel
from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError, parse_request
from charlm.text.vocabulary import Vocabulary

MESSAGES = [{"role": "user", "content": "ab"}]


@pytest.fixture
def endless(trained: TrainedModel) -> TrainedModel:
    """Return the model with a vocabulary without reserved ids, so that it never ends a text."""
    return replace(trained, vocabulary=Vocabulary(("\n", "a", "b", "c", "d")))


def answer(model: TrainedModel, **fields: Any) -> Answer:
    """Return the answer to a completion."""
    body = json.dumps({"max_tokens": 100, "seed": 5, **fields}).encode()
    return Answer(ServedModel("m", model, 0), parse_request(CompletionRequest, body))


def chat_answer(model: TrainedModel, **fields: Any) -> Answer:
    """Return the answer to a chat."""
    settings = {"messages": MESSAGES, "max_tokens": 100, "seed": 5}
    body = json.dumps({**settings, **fields}).encode()
    return Answer(ServedModel("m", model, 0), parse_request(ChatRequest, body))


def collect(items: AsyncIterator[Any]) -> list[Any]:
    async def read() -> list[Any]:
        return [item async for item in items]

    return asyncio.run(read())


def texts(answer: Answer) -> list[str]:
    """Return the whole texts of an answer."""
    whole = [""] * answer.count
    for index, chunk in collect(answer.chunks()):
        whole[index] += chunk.text
    return whole


def tokens(answer: Answer) -> list[Token]:
    """Return the tokens of an answer with a single text."""
    return [token for _, chunk in collect(answer.chunks()) for token in chunk.tokens]


def sampled(
    model: TrainedModel,
    prompt: str,
    *,
    seed: int = 5,
    length: int = 100,
    **options: Any,
) -> str:
    """Return the text of `charlm sample`."""
    request = TextRequest(length, Sampler(**options), seed, prompt=prompt)
    return str(generate_text(model, request))


def logprobs_of(
    model: TrainedModel,
    ids: list[int],
    *,
    choices: int,
) -> NDArray[Any]:
    """Return log p after each id for the first ids of the vocabulary, by the reference."""
    logits = reference.read(model.parameters, ids)[0][:, :choices]
    return np.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))


# Texts

SETTINGS: dict[str, Any] = {"temperature": 1.7, "top_k": 3, "top_p": 0.9, "min_p": 0.01}


@pytest.mark.parametrize("model", ["trained", "endless"])
def test_a_text_is_that_of_sample_with_the_seed_plus_its_number(
    model: str,
    request: pytest.FixtureRequest,
) -> None:
    network: TrainedModel = request.getfixturevalue(model)
    expected = []
    for prompt in ("ab", "b\na"):
        expected += [sampled(network, prompt, seed=5 + k, **SETTINGS) for k in range(3)]
    assert texts(answer(network, prompt=["ab", "b\na"], n=3, **SETTINGS)) == expected


def test_texts_of_one_prompt_differ_by_their_seeds(endless: TrainedModel) -> None:
    assert len({*texts(answer(endless, prompt="ab", n=3))}) == 3


def test_a_chat_continues_the_lines_of_its_messages(trained: TrainedModel) -> None:
    messages = [{"role": "user", "content": text} for text in ("ab", "xb")]
    assert texts(chat_answer(trained, messages=messages)) == [sampled(trained, "ab\nxb")]


def test_a_text_ends_before_a_stop_text(endless: TrainedModel) -> None:
    whole = sampled(endless, "ab", length=60)
    stop = whole[20:24]
    stopped = answer(endless, prompt="ab", stop=[stop, "no"], logprobs=0, max_tokens=60)
    ((_, chunk),) = collect(stopped.chunks())
    assert chunk.text == whole[: whole.index(stop)]
    assert "".join(token.text for token in chunk.tokens) == chunk.text
    assert chunk.finish_reason == "stop"


def test_ids_of_a_text_are_the_same_prompt(trained: TrainedModel) -> None:
    assert texts(answer(trained, prompt=[1, 2])) == texts(answer(trained, prompt="ab"))


@pytest.mark.parametrize("index", [-1, 5, 2**62])
def test_an_id_that_the_model_lacks_is_refused(index: int, trained: TrainedModel) -> None:
    with pytest.raises(RequestError, match=f"^prompt: found the id {index}; must be from 0 to 4$"):
        answer(trained, prompt=[1, index])


# Turns


def test_a_short_request_does_not_wait_for_a_long_one(endless: TrainedModel) -> None:
    order: list[str] = []

    async def generate(name: str, length: int) -> str:
        text = ""
        async for _, chunk in answer(endless, prompt="ab", max_tokens=length).chunks():
            order.append(name)
            text += chunk.text
        return text

    async def generate_both() -> list[str]:
        return [*await asyncio.gather(generate("long", 640), generate("short", 64))]

    long, short = asyncio.run(generate_both())
    assert len(short) == 64
    assert long.startswith(short)
    assert order.index("short") <= 2
    last_short = len(order) - order[::-1].index("short")
    assert last_short <= 6


def test_the_event_loop_has_a_turn_between_any_two_turns() -> None:
    turns = Turnstile()
    done: list[int] = []

    async def work(number: int) -> None:
        for _ in range(3):
            await turns.wait()
            done.append(number)

    async def count_most_at_once() -> int:
        tasks = [asyncio.create_task(work(number)) for number in range(5)]
        most = 0
        while not all(task.done() for task in tasks):
            before = len(done)
            await asyncio.sleep(0)
            most = max(most, len(done) - before)
        return most

    assert asyncio.run(count_most_at_once()) == 1
    assert len(done) == 15


# Log-probabilities


@pytest.mark.parametrize("count", [0, 2, 20])
def test_log_probabilities_are_those_of_the_model_itself(count: int, trained: TrainedModel) -> None:
    vocabulary = Vocabulary(("\n", "a", "b", "c", None), unknown_id=4)
    model = replace(trained, vocabulary=vocabulary)
    given = tokens(answer(model, prompt="ab", logprobs=count, temperature=0.5, max_tokens=40))
    text = "".join(token.text for token in given)
    assert len(text) == 40
    ids = vocabulary.encode("ab" + text).tolist()
    expected = logprobs_of(model, ids, choices=4)  # the unknown id is never chosen
    for token, index, row in zip(given, ids[2:], expected[1:-1], strict=True):
        assert token.logprob == pytest.approx(row[index], abs=1e-4)
        named = {*np.argsort(-row)[:count].tolist(), index}
        likeliest = {vocabulary.names[each]: pytest.approx(row[each], abs=1e-4) for each in named}
        assert token.likeliest == (likeliest if count else None)


@pytest.mark.parametrize("length", [1, 2, 256, 257, 600])
def test_an_echoed_prompt_has_log_probabilities(length: int, endless: TrainedModel) -> None:
    prompt = "".join(np.random.default_rng(length).choice([*"ab\n"], length))
    first, *others = tokens(answer(endless, prompt=prompt, echo=True, logprobs=1, max_tokens=5))
    text = prompt + sampled(endless, prompt, length=5)
    assert "".join(token.text for token in (first, *others)) == text
    assert [token.offset for token in (first, *others)] == [*range(len(text))]
    assert (first.logprob, first.likeliest) == (None, None)
    ids = endless.vocabulary.encode(text).tolist()
    expected = logprobs_of(endless, ids, choices=5)
    for token, index, row in zip(others, ids[1:], expected, strict=False):
        assert token.logprob == pytest.approx(row[index], abs=1e-4)
        assert max((token.likeliest or {}).values()) == pytest.approx(row.max(), abs=1e-4)


def test_an_echo_of_ids_has_the_names_of_reserved_ids(trained: TrainedModel) -> None:
    echo = answer(trained, prompt=[4, 1, 3, 2], echo=True, logprobs=0, max_tokens=0)
    given = tokens(echo)
    assert [token.text for token in given] == ["<|endoftext|>", "a", "<|unknown|>", "b"]
    assert [token.offset for token in given] == [0, 0, 1, 2]
    assert texts(echo) == ["a\ufffdb"]


def test_a_prompt_can_be_echoed_without_a_text_after_it(trained: TrainedModel) -> None:
    echo = answer(trained, prompt=["ab", ""], echo=True, max_tokens=0, n=2)
    assert texts(echo) == ["ab", "ab", "", ""]
    reasons = [chunk.finish_reason for _, chunk in collect(echo.chunks()) if not chunk.text]
    assert reasons == ["length"] * 4
    assert echo.usage() == {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}


# Objects of the API


def test_usage_counts_the_characters_read_or_chosen(endless: TrainedModel) -> None:
    four = answer(endless, prompt=["ab", "a"], n=2, max_tokens=7)
    texts(four)
    assert four.usage() == {"prompt_tokens": 3, "completion_tokens": 28, "total_tokens": 31}


def test_usage_counts_the_end_of_a_text(trained: TrainedModel) -> None:
    ended = answer(trained, prompt="ab", max_tokens=60, seed=1)
    (text,) = texts(ended)
    assert len(text) < 60
    assert ended.usage()["completion_tokens"] == len(text) + 1


def test_a_completion_joins_the_chunks_of_each_text(trained: TrainedModel) -> None:
    chunks = [[Chunk("a"), Chunk("b", (), "stop")], [Chunk("c", (), "length")]]
    whole = answer(trained, prompt="ab", n=2).whole(chunks)
    assert whole["id"].startswith("cmpl-")
    assert (whole["object"], whole["model"]) == ("text_completion", "m")
    assert whole["choices"] == [
        {"index": 0, "text": "ab", "finish_reason": "stop", "logprobs": None},
        {"index": 1, "text": "c", "finish_reason": "length", "logprobs": None},
    ]
    assert whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}


def test_log_probabilities_have_the_legacy_form(trained: TrainedModel) -> None:
    first = Chunk("a", (Token("a", -2.0, None, 0),))
    second = Chunk("b", (Token("b", -1.0, {"c": -0.5, "b": -1.0}, 1),), "stop")
    (choice,) = answer(trained, logprobs=1).whole([[first, second]])["choices"]
    assert choice["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [-2.0, -1.0],
        "top_logprobs": [None, {"c": -0.5, "b": -1.0}],
        "text_offset": [0, 1],
    }


def test_a_chat_is_a_message_of_the_assistant(trained: TrainedModel) -> None:
    whole = chat_answer(trained).whole([[Chunk("a\n", (), "stop")]])
    assert whole["id"].startswith("chatcmpl-")
    assert whole["object"] == "chat.completion"
    (choice,) = whole["choices"]
    assert choice["message"] == {"role": "assistant", "content": "a\n", "refusal": None}
    assert (choice["logprobs"], choice["finish_reason"]) == (None, "stop")


def test_a_client_can_send_a_message_back_in_its_next_turn(trained: TrainedModel) -> None:
    (choice,) = chat_answer(trained).whole([[Chunk("a\n", (), "stop")]])["choices"]
    nulls = {"annotations": None, "audio": None, "function_call": None, "tool_calls": None}
    messages = [*MESSAGES, choice["message"] | nulls, {"role": "user", "content": "?"}]
    request = parse_request(ChatRequest, json.dumps({"messages": messages}).encode())
    assert request.prompts == ["ab\na\n\n?"]


def test_events_of_a_completion_have_chunks_of_text(endless: TrainedModel) -> None:
    events = collect(answer(endless, prompt="ab", stream=True).events())
    choices = [event["choices"][0] for event in events]
    assert "".join(choice["text"] for choice in choices) == sampled(endless, "ab")
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "length"]
    assert not any("usage" in event for event in events)


@pytest.fixture
def chat_events(endless: TrainedModel) -> list[dict[str, Any]]:
    """Return the events of a chat with two texts of three characters and the usage."""
    options = {"stream": True, "stream_options": {"include_usage": True}, "n": 2, "max_tokens": 3}
    return collect(chat_answer(endless, **options).events())


def test_events_of_a_chat_start_with_the_role_of_each_text(
    chat_events: list[dict[str, Any]],
) -> None:
    assert {event["object"] for event in chat_events} == {"chat.completion.chunk"}
    choices = [event["choices"][0] for event in chat_events[:2]]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}


def test_events_of_a_chat_have_the_text(
    chat_events: list[dict[str, Any]],
    endless: TrainedModel,
) -> None:
    choices = [event["choices"][0] for event in chat_events[2:-1]]
    assert [choice["finish_reason"] for choice in choices] == ["length"] * 2
    assert choices[0]["delta"] == {"content": sampled(endless, "ab", length=3)}


def test_events_of_a_chat_end_with_the_usage(chat_events: list[dict[str, Any]]) -> None:
    *others, last = chat_events
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 6
    assert all(event["usage"] is None for event in others)
