"""The queue and the stepping thread, and from a plan to pieces of text without a socket."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import RandomParameters

from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle
from charlm.network.rnn import Parameters
from charlm.sampling.batch import Batch, Chunk, Job
from charlm.sampling.generation import TextRequest, generate_texts
from charlm.sampling.sampler import Sampler
from charlm.serving.jobs import Plan, ServedModel, plan_request
from charlm.serving.requests import CompletionRequest, Limits, RequestError, parse_request
from charlm.serving.scheduler import Answering, Reports, Scheduler
from charlm.text.vocabulary import Vocabulary

SECONDS = 20


class Delivered:
    """The reports that were delivered, in order."""

    def __init__(self) -> None:
        self.reports: list[tuple[Job, Chunk]] = []
        self._changed = threading.Condition()

    def __call__(self, reports: Reports) -> None:
        with self._changed:
            self.reports += reports
            self._changed.notify()

    def wait_for_ends(self, count: int) -> list[str]:
        """Wait until so many jobs have ended; return the reasons."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ends()) >= count, SECONDS), "no end"
            return self.ends()

    def ends(self) -> list[str]:
        return [chunk.reason for _, chunk in self.reports if chunk.reason is not None]


@pytest.fixture
def batch(random_parameters: RandomParameters) -> Batch:
    return Batch(random_parameters(scale=0.3), slots=2, lanes=2)


@pytest.fixture
def delivered() -> Delivered:
    return Delivered()


@pytest.fixture
def scheduler(batch: Batch, delivered: Delivered) -> Scheduler:
    return Scheduler({"m": batch}, max_waiting=3, deliver=delivered)


def job(length: int = 5) -> Job:
    return Job(np.array([1, 2]), length, Sampler(), (0, 0))


def test_jobs_that_wait_are_written_when_slots_are_free(scheduler: Scheduler, delivered: Delivered) -> None:
    jobs = [job() for _ in range(5)]
    scheduler.submit("m", jobs)
    assert (scheduler.active, scheduler.waiting) == (0, 5)
    scheduler.start()
    assert delivered.wait_for_ends(5) == ["length"] * 5
    for one in jobs:
        assert sum(len(chunk.ids) for reported, chunk in delivered.reports if reported is one) == 5
    scheduler.close()


def test_jobs_beyond_the_queue_are_refused_all_or_none(scheduler: Scheduler) -> None:
    assert scheduler.submit("m", [job() for _ in range(4)])
    assert not scheduler.submit("m", [job(), job()])
    assert scheduler.submit("m", [job()])
    assert scheduler.waiting == 5


def test_every_job_is_told_if_the_thread_fails(scheduler: Scheduler, delivered: Delivered) -> None:
    broken = Job(np.array([1]), 5, Sampler(), (-1, 0))  # NumPy takes no such seed
    scheduler.submit("m", [job(10**9), broken, job()])
    scheduler.start()
    assert delivered.wait_for_ends(3) == ["failed"] * 3
    assert isinstance(scheduler.failure, ValueError)
    assert not scheduler.submit("m", [job()])


VOCABULARY = Vocabulary("char", ("\n", *"abcd"))


class Place:
    """A server without a socket."""

    def __init__(self, parameters: Parameters, limits: Limits, *, is_started: bool = True) -> None:
        self.limits = limits
        self.answering = Answering({"m": Batch(parameters, slots=limits.slots)}, limits)
        self.scheduler = self.answering.scheduler
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
    made = Place(parameters, Limits(slots=3, waiting=2, tokens=10**9, answer_values=10**10))
    yield made
    made.scheduler.close()


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stop": "dd"}], ids=str)
def test_texts_are_those_that_sample_writes(place: Place, parameters: Parameters, fields: dict[str, Any]) -> None:
    bundle = Bundle(Architecture(5, 2, 4, None, True, "tanh", False), parameters, VOCABULARY, "")
    wanted = TextRequest(100, Sampler(), seed=3, prompt="ab", stop=fields.get("stop", ""))
    expected = generate_texts(bundle, wanted, samples=2)
    texts = asyncio.run(place.texts(prompt="ab", max_tokens=100, seed=3, n=2, **fields))
    assert texts == [sample.text for sample in expected]


def test_a_request_that_is_given_up_frees_its_slots(place: Place) -> None:
    async def leave() -> None:
        pieces = place.answering.pieces(place.plan(prompt="a", max_tokens=10**8, n=4, stream=True))
        await anext(pieces)
        assert place.scheduler.active + place.scheduler.waiting == 4
        await pieces.aclose()
        await place.wait_until_idle()

    asyncio.run(leave())


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=str)
def test_a_text_ends_where_it_is_when_the_time_is_over(parameters: Parameters, fields: dict[str, Any]) -> None:
    place = Place(parameters, Limits(slots=1, waiting=0, tokens=10**9, answer_values=10**10, seconds=0.3))
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
