"""Requests -> jobs, within the limits of the server."""

import json
from typing import Any

import pytest

from charlm.sampling.sampler import Sampler
from charlm.serving.jobs import RequestPlan, ServedModel, plan_request
from charlm.serving.requests import ChatRequest, CompletionRequest, RequestError, ServerLimits, parse_request
from charlm.text.vocabulary import Vocabulary

LIMITS = ServerLimits(slots=2, waiting=3, prompt_characters=6, tokens=10, answer_values=60)


def model(name: str = "first") -> ServedModel:
    return ServedModel(name, Vocabulary(("\n", "a", "b")), 0, b"")


def plan(limits: ServerLimits = LIMITS, served: ServedModel | None = None, **fields: Any) -> RequestPlan:
    models = {"first": served or model(), "second": model("second")}
    wanted = parse_request(CompletionRequest, json.dumps(fields).encode())
    return plan_request(wanted, models, limits)


def refusal(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        plan(**fields)
    return caught.value


def ids(planned: RequestPlan) -> list[list[int]]:
    return [prompt.tolist() for prompt in planned.prompts]


def test_each_prompt_has_n_texts_with_random_numbers_of_their_own() -> None:
    planned = plan(prompt=["a", "bb"], n=2, seed=7, max_tokens=4, temperature=0.5, top_k=3, min_p=0.1, top_p=0.9)
    assert ids(planned) == [[1], [2, 2]]
    jobs = [planned.job(index, ()) for index in range(4)]
    assert [job.seed for job in jobs] == [(7, 0), (7, 1), (7, 0), (7, 1)]
    assert {(job.length, job.sampler) for job in jobs} == {(4, Sampler(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1))}


def test_a_request_that_names_no_model_gets_the_first() -> None:
    assert plan(prompt="a").model == "first"
    assert plan(prompt="a", model="second").form.model == "second"
    error = refusal(prompt="a", model="third")
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")


@pytest.mark.parametrize(("options", "includes"), [(None, False), ({}, False), ({"include_usage": True}, True)])
def test_a_streamed_answer_ends_with_the_usage_if_that_is_asked_for(options: Any, includes: bool) -> None:
    assert plan(prompt="a", stream=True, stream_options=options).form.includes_usage == includes


def test_an_empty_prompt_is_read_as_a_line_break_and_counts_as_nothing() -> None:
    planned = plan(prompt="")
    assert (ids(planned), planned.prompt_characters) == ([[0]], 0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        *(({"prompt": prompt}, "prompt") for prompt in ("a" * 7, ["aaaa", "bbb"], ["a", 3])),
        ({"prompt": "a", "max_tokens": 11}, "max_tokens"),
        ({"prompt": ["a", "b"], "n": 3}, "n"),
        ({"prompt": ["a", "b"], "n": 2, "max_tokens": 10, "logprobs": 0}, "max_tokens"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
    ],
    ids=str,
)
def test_more_than_the_server_takes_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert (error.status, error.param) == (400, param)
    assert error.message.startswith(param)


def test_a_character_that_the_model_does_not_know_is_left_out() -> None:
    assert ids(plan(prompt="aXb")) == [[1, 2]]
    planned = plan(prompt="XX")
    assert (ids(planned), planned.prompt_characters) == ([[0]], 0)


def test_a_chat_is_a_completion_of_its_lines() -> None:
    planned = chat(seed=1, n=2, max_completion_tokens=3)
    assert ids(planned) == [[1, 2, 0, 2]]
    assert (planned.seed, planned.copies, planned.length, planned.form.kind) == (1, 2, 3, "chat")
    assert chat().length == LIMITS.tokens
    assert plan(ServerLimits(), prompt="a").length == 16
    with pytest.raises(RequestError, match="max_tokens: found 11"):
        chat(max_tokens=11)


def chat(**fields: Any) -> RequestPlan:
    messages = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "b"}]
    wanted = parse_request(ChatRequest, json.dumps({"messages": messages, **fields}).encode())
    return plan_request(wanted, {"first": model()}, LIMITS)
