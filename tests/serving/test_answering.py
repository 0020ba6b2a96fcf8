"""From a plan to pieces of text, with a real stepping thread and no socket."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import RandomParameters

from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle
from charlm.network.rnn import Parameters
from charlm.sampling.batch import Batch
from charlm.sampling.generation import generate_texts
from charlm.sampling.sampler import Sampler
from charlm.serving.plan import Plan, ServedModel, plan_request
from charlm.serving.requests import CompletionRequest, Limits, RequestError, parse_request
from charlm.serving.scheduler import Answering, Inboxes, Scheduler
from charlm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("char", ("\n", *"abcd"))


class Place:
    """A server without a socket."""

    def __init__(self, parameters: Parameters, limits: Limits, *, is_started: bool = True) -> None:
        inboxes = Inboxes()
        batch = Batch(parameters, slots=limits.slots)
        self.limits = limits
        self.scheduler = Scheduler({"m": batch}, max_waiting=limits.waiting, deliver=inboxes.deliver)
        self.answering = Answering(self.scheduler, inboxes, limits)
        if is_started:
            self.scheduler.start()

    def plan(self, **fields: Any) -> Plan:
        wanted = parse_request(CompletionRequest, json.dumps(fields).encode())
        return plan_request(wanted, {"m": ServedModel("m", VOCABULARY, 0)}, self.limits)

    async def texts(self, **fields: Any) -> list[str]:
        plan = self.plan(**fields)
        texts = [""] * len(plan.jobs)
        async for index, piece in self.answering.pieces(plan):
            texts[index] += piece.text
        return texts

    async def wait_until_idle(self) -> None:
        for _ in range(2000):
            if not (self.scheduler.active or self.scheduler.waiting):
                return
            await asyncio.sleep(0.005)
        pytest.fail("slots are still taken")


@pytest.fixture
def parameters(random_parameters: RandomParameters) -> Parameters:
    return random_parameters(layers=2, scale=0.5)


@pytest.fixture
def place(parameters: Parameters) -> Iterator[Place]:
    made = Place(parameters, Limits(slots=3, waiting=2, tokens=10**9))
    yield made
    made.scheduler.close()


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stop": "dd"}], ids=str)
def test_texts_are_those_that_sample_writes(place: Place, parameters: Parameters, fields: dict[str, Any]) -> None:
    bundle = Bundle(Architecture(5, 2, 4, None, True, "tanh", False), parameters, VOCABULARY, "")
    expected = generate_texts(
        bundle, prompt="ab", length=100, sampler=Sampler(), seed=3, samples=2, stop=fields.get("stop")
    )
    texts = asyncio.run(place.texts(prompt="ab", max_tokens=100, seed=3, n=2, **fields))
    assert texts == [sample.text for sample in expected]


def test_a_seeded_request_gets_the_same_text_alone_or_among_others(place: Place) -> None:
    async def crowd() -> list[list[str]]:
        return await asyncio.gather(*(place.texts(prompt="ab" * i, max_tokens=9 * i, seed=i) for i in range(1, 6)))

    alone = [asyncio.run(place.texts(prompt="ab" * i, max_tokens=9 * i, seed=i)) for i in range(1, 6)]
    assert asyncio.run(crowd()) == alone


def test_a_request_that_is_given_up_frees_its_slots(place: Place) -> None:
    async def leave() -> None:
        pieces = place.answering.pieces(place.plan(prompt="a", max_tokens=10**8, n=4, stream=True))
        await anext(pieces)
        assert place.scheduler.active + place.scheduler.waiting == 4
        await pieces.aclose()
        await place.wait_until_idle()

    asyncio.run(leave())


def test_a_stop_text_frees_the_slot(place: Place) -> None:
    async def stop() -> None:
        assert len((await place.texts(prompt="a", max_tokens=10**8, stop="a"))[0]) < 10_000
        await place.wait_until_idle()

    asyncio.run(stop())


def test_a_request_is_put_off_if_there_is_no_room(place: Place) -> None:
    async def crowd() -> RequestError:
        waiting = place.answering.pieces(place.plan(prompt="a", max_tokens=10**8, n=5, stream=True))
        await anext(waiting)
        with pytest.raises(RequestError) as caught:
            await place.texts(prompt="a")
        await waiting.aclose()
        return caught.value

    error = asyncio.run(crowd())
    assert (error.status, error.retry_after_seconds, error.code) == (503, 1, "overloaded")


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=str)
def test_a_text_ends_where_it_is_when_the_time_is_over(parameters: Parameters, fields: dict[str, Any]) -> None:
    place = Place(parameters, Limits(slots=1, waiting=0, tokens=10**9, seconds=0.3))
    plan = place.plan(prompt="a", max_tokens=10**8, **fields)

    async def collect() -> tuple[int, Any]:
        pieces = [piece async for _, piece in place.answering.pieces(plan)]
        await place.wait_until_idle()
        return sum(len(piece.text) for piece in pieces), pieces[-1].finish_reason

    characters, reason = asyncio.run(collect())
    place.scheduler.close()
    assert characters > 0
    assert reason == "length"


def test_a_request_whose_time_is_over_before_it_begins_is_put_off(parameters: Parameters) -> None:
    place = Place(parameters, Limits(seconds=0.1), is_started=False)
    with pytest.raises(RequestError) as caught:
        asyncio.run(place.texts(prompt="a"))
    assert caught.value.status == 503


def test_weights_that_overflow_end_a_request_with_an_error_of_its_own(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(activation="linear", scale=1.0)
    parameters.layers[0].recurrent_kernel[:] = 3 * np.eye(4)
    place = Place(parameters, Limits(slots=2, waiting=0))
    with pytest.raises(RequestError) as caught:
        asyncio.run(place.texts(prompt="a", max_tokens=4000, temperature=0))
    place.scheduler.close()
    assert caught.value.status == 422
