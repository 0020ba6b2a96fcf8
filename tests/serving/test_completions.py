"""Requests for texts, and their answers, which equal the texts of `charlm sample`."""

import asyncio
import json
import time
from dataclasses import replace
from itertools import chain
from typing import Any
from unittest.mock import AsyncMock, Mock

import numpy as np
import pytest
import reference
from models import as_model, overflowing_parameters

pytest.importorskip("starlette", reason="missing: starlette")

from charlm.core.generation import TextRequest, generate_text
from charlm.core.model_file import TrainedModel
from charlm.core.rnn import read_outputs
from charlm.core.sampler import Sampler
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError
from charlm.serving.completions import Completion, CompletionRequest, parse_request


@pytest.fixture
def endless(trained: TrainedModel) -> TrainedModel:
    """Return the model without an end-of-text id; its fourth id is the unknown id."""
    return replace(trained, vocabulary=Vocabulary(("\n", "a", "b", None, "c"), unknown_id=3))


def completion(
    model: TrainedModel,
    waits: list[None] | None = None,
    **fields: Any,
) -> Completion:
    """Return the answer to a request; an item is added to `waits` whenever it waits."""

    async def wait() -> None:
        if waits is not None:
            waits.append(None)

    body = json.dumps({"max_tokens": 100, "seed": 5, **fields}).encode()
    return Completion(model, parse_request(body), name="m", wait=wait)


def answer(model: TrainedModel, **fields: Any) -> Any:
    """Return the whole answer to a request."""
    return asyncio.run(completion(model, **fields).whole(AsyncMock(return_value=False)))


def events_of(streamed: Completion) -> list[Any]:
    """Return the objects of a streamed answer."""

    async def collect() -> list[Any]:
        return [event async for event in streamed.events()]

    return asyncio.run(collect())


def sampled(
    model: TrainedModel,
    prompt: str,
    *,
    seed: int = 5,
    length: int = 100,
) -> str:
    """Return the text of `charlm sample`."""
    request = TextRequest(length, Sampler(temperature=1.7, top_k=3), seed, prompt=prompt)
    return str(generate_text(model, request))


SAMPLED: dict[str, Any] = {"temperature": 1.7, "top_k": 3}

# Texts


@pytest.mark.parametrize("name", ["trained", "endless"])
def test_a_text_is_that_of_sample_with_the_seed_plus_its_number(
    name: str, request: pytest.FixtureRequest
) -> None:
    model: TrainedModel = request.getfixturevalue(name)
    prompts = ["ab", "", "b\na" * 100]
    choices = answer(model, prompt=prompts, n=2, **SAMPLED)["choices"]
    expected = [sampled(model, prompt, seed=seed) for prompt in prompts for seed in (5, 6)]
    assert [choice["text"] for choice in choices] == expected
    assert [choice["index"] for choice in choices] == [*range(6)]


def test_a_text_ends_before_a_stop_text(endless: TrainedModel) -> None:
    whole = sampled(endless, "ab")
    stop = whole[40:44]
    fields = {"prompt": "ab", "stop": [stop, "no"], "logprobs": 0, **SAMPLED}
    (choice,) = answer(endless, **fields)["choices"]
    assert choice["text"] == "".join(choice["logprobs"]["tokens"]) == whole[: whole.index(stop)]
    assert choice["finish_reason"] == "stop"


def test_the_end_of_a_text_is_a_stop(trained: TrainedModel) -> None:
    (choice,) = answer(trained, prompt="ab", max_tokens=5000)["choices"]
    assert len(choice["text"]) < 5000
    assert choice["finish_reason"] == "stop"


def test_a_prompt_can_be_echoed_without_a_text_after_it(endless: TrainedModel) -> None:
    choices = answer(endless, prompt=["aXb", ""], echo=True, max_tokens=0, n=2)["choices"]
    texts = [(choice["text"], choice["finish_reason"]) for choice in choices]
    assert texts == [("a\ufffdb", "length")] * 2 + [("", "length")] * 2


def test_usage_counts_the_characters_read_or_generated(endless: TrainedModel) -> None:
    usage = answer(endless, prompt=["ab", "a"], n=2, max_tokens=7)["usage"]
    assert usage == {"prompt_tokens": 3, "completion_tokens": 28, "total_tokens": 31}


def test_an_answer_has_the_time_at_which_it_was_created(endless: TrainedModel) -> None:
    before = int(time.time())
    assert before <= answer(endless, prompt="a", max_tokens=1)["created"] <= time.time()


def test_unknown_characters_of_prompts_are_counted(trained: TrainedModel) -> None:
    model = replace(trained, vocabulary=Vocabulary(tuple("\nabcd")))
    choices = answer(model, prompt=["aXX", "b", "\u65e5X"], n=2)["choices"]
    left_out = [choice.get("left_out") for choice in choices]
    assert left_out == 2 * [{"X": 2}] + 2 * [None] + 2 * [{"X": 1, "\u65e5": 1}]


def test_a_request_waits_after_every_32_characters(endless: TrainedModel) -> None:
    waits: list[None] = []
    before = []
    streamed = completion(endless, waits, prompt="a" * 300, max_tokens=100)

    async def collect() -> None:
        async for event in streamed.events():
            before.append((len(waits), len(event["choices"][0]["text"])))

    asyncio.run(collect())
    assert before == [(2, 0), (2, 32), (3, 32), (4, 32), (5, 4)]  # 2 blocks of the prompt


def test_a_prompt_is_read_once(endless: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Mock(wraps=read_outputs)
    monkeypatch.setattr("charlm.core.generation.read_outputs", read)
    waits: list[None] = []
    streamed = completion(endless, waits, prompt=["a" * 300, "b"], n=20, max_tokens=1, logprobs=0)
    assert len(events_of(streamed)) == 2 * 2 * 20
    assert read.call_count == 2 + 1  # blocks of the prompts
    assert len(waits) == 2 + 10 + 1 + 1  # the same, and turns of their tokens


# Log-probabilities


@pytest.mark.parametrize("length", [1, 2, 32, 33, 257])
@pytest.mark.parametrize("count", [0, 2, 20])
def test_echoed_and_generated_characters_have_the_log_probabilities_of_the_model(
    length: int,
    count: int,
    endless: TrainedModel,
) -> None:
    prompt = "".join(np.random.default_rng(length).choice([*"ab\n"], length))
    fields = {"prompt": prompt, "n": 2, "echo": True, "logprobs": count, "max_tokens": 40}
    _, choice = answer(endless, **fields, **SAMPLED)["choices"]
    text = prompt + sampled(endless, prompt, seed=6, length=40)
    given = choice["logprobs"]
    assert choice["text"] == "".join(given["tokens"]) == text
    assert given["text_offset"] == [*range(len(text))]
    ids = endless.vocabulary.encode(text).tolist()
    logits, _ = reference.read(endless.parameters, ids)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert given["token_logprobs"][0] is given["top_logprobs"][0] is None
    names = endless.vocabulary.names
    for position, (index, row) in enumerate(zip(ids[1:], log_p, strict=False), start=1):
        assert given["token_logprobs"][position] == pytest.approx(row[index], abs=1e-4)
        likeliest = {*np.argsort(-row)[:count].tolist(), index}
        expected = {names[each]: pytest.approx(row[each], abs=1e-4) for each in likeliest}
        assert given["top_logprobs"][position] == (expected if count else None)


def test_a_network_that_overflows_is_refused_without_a_warning() -> None:
    model = as_model(overflowing_parameters(), Vocabulary(tuple("abcde")))
    with pytest.raises(CharlmError, match="the logits are not finite"):
        answer(model, prompt="abcd", echo=True, logprobs=0, max_tokens=0)


# Streams


def test_the_parts_of_a_stream_make_the_whole(endless: TrainedModel) -> None:
    fields: dict[str, Any] = {"prompt": "ab", "echo": True, "logprobs": 1, "max_tokens": 70}
    whole = answer(endless, **fields)
    (choice,) = whole["choices"]
    options = {"include_usage": True}
    *events, last = events_of(completion(endless, **fields, stream_options=options))
    parts = [event["choices"][0] for event in events]
    assert "".join(part["text"] for part in parts) == choice["text"]
    assert [part["finish_reason"] for part in parts] == [None] * 3 + ["length"]
    for name, items in choice["logprobs"].items():
        assert [*chain.from_iterable(part["logprobs"][name] for part in parts)] == items
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


# Requests


def parse(**fields: Any) -> CompletionRequest:
    return parse_request(json.dumps(fields).encode())


def refusal(body: str | bytes) -> str:
    """Return the message about an invalid body."""
    with pytest.raises(CharlmError) as caught:
        parse_request(body if isinstance(body, bytes) else body.encode())
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) <= 500
    return message


def test_a_prompt_or_stop_is_a_text_or_a_list() -> None:
    assert parse(prompt="ab", stop="cd") == parse(prompt=["ab"], stop=["cd"])


@pytest.mark.parametrize("is_null", [True, False], ids=["null", "default"])
def test_a_field_can_be_null_or_have_its_default(is_null: bool) -> None:
    defaults = CompletionRequest().model_dump()
    fields = dict.fromkeys(defaults) if is_null else defaults
    assert parse(**fields) == CompletionRequest()


MANY = 65_536
LIMITS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0}, {"temperature": -0.1}),
    ({"n": 128}, {"n": 129}),
    ({"max_tokens": 0}, {"max_tokens": -1}),
    ({"max_tokens": 0}, {"max_tokens": 10**400}),
    ({"seed": 2**63 - 1}, {"seed": 2**63}),
    ({"seed": 0}, {"seed": 10**4299}),
    ({"logprobs": 20}, {"logprobs": 21}),
    ({"stop": ["a"] * 16}, {"stop": ["a"] * 17}),
    ({"stop": "a" * 1000}, {"stop": "a" * 1001}),
    ({"stop": "a"}, {"stop": ""}),
    ({"prompt": ["a"] * 128}, {"prompt": ["a"] * 129}),
    ({"stream_options": {}}, {"stream_options": {"x": True}}),
    ({"user": "me"}, {"tools": []}),
]
SIZES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_tokens": MANY // 2, "n": 2}, {"max_tokens": MANY // 2 + 1, "n": 2}),
    ({"max_tokens": MANY // 2, "prompt": ["", ""]}, {"max_tokens": MANY // 2, "prompt": ["", "a"]}),
    ({"max_tokens": 1, "prompt": "a" * (MANY - 1)}, {"max_tokens": 1, "prompt": "a" * MANY}),
    ({"max_tokens": MANY, "logprobs": 0}, {"max_tokens": MANY // 2 + 1, "logprobs": 2}),
]


@pytest.mark.parametrize(("accepted", "refused"), LIMITS, ids=range(len(LIMITS)))
def test_a_field_beyond_its_limit_is_refused_by_name(
    accepted: dict[str, Any],
    refused: dict[str, Any],
) -> None:
    parse(**accepted)
    assert refusal(json.dumps(refused)).startswith(next(iter(refused)))


@pytest.mark.parametrize(("accepted", "refused"), SIZES)
def test_the_characters_of_a_request_are_limited(
    accepted: dict[str, Any],
    refused: dict[str, Any],
) -> None:
    parse(**accepted)
    assert "must be at most 65,536 over all texts" in refusal(json.dumps(refused))


@pytest.mark.parametrize(
    "body",
    [
        "[1]",
        "{",
        "[" * 100_000,
        b"\xff",
        '{"prompt": "\\ud800"}',
        '{"temperature": NaN}',
        '{"seed": 1' + "0" * 5000 + "}",
        '{"\\u202e": 1}',
    ],
    ids=range(8),
)
def test_a_body_that_is_not_valid_json_is_refused(body: str | bytes) -> None:
    assert refusal(body)


@pytest.mark.parametrize("name", ["output", "lr", "block_size"])
def test_a_field_is_not_a_setting_or_an_option(name: str) -> None:
    assert f"{name}: found 1; there is no such key" in refusal(json.dumps({name: 1}))


def test_a_similar_field_is_suggested() -> None:
    assert refusal('{"temprature": 1}').endswith("; did you mean temperature?")


def test_what_would_take_long_to_read_is_refused() -> None:
    parse(prompt="a" + 29 * "\u0301")
    assert "more than 30 combining marks" in refusal(json.dumps({"prompt": 60 * "\u0301"}))
    assert "101 fields" in refusal(json.dumps(dict.fromkeys(map(str, range(101)))))
    parse(**dict.fromkeys(map(str, range(100))))
