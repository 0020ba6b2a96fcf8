"""From plans to pieces of text, without a socket: the queue, the slots, and requests beside each other."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from bundles import make_random_parameters
from conftest import RandomParameters
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from serving.conftest import put_forward, run_forward

from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle
from charlm.network.rnn import Parameters
from charlm.sampling.batch import Batch
from charlm.sampling.generation import TextRequest, generate_texts
from charlm.sampling.sampler import Sampler
from charlm.serving.answers import Piece
from charlm.serving.dispatcher import Dispatcher
from charlm.serving.jobs import RequestPlan, ServedModel, plan_request
from charlm.serving.requests import CompletionRequest, RequestError, ServerLimits, parse_request
from charlm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("\n", *"abcd"))
LONG = 10**8


class Place:
    """A server without a socket."""

    def __init__(self, parameters: Parameters, *, slots: int = 3, waiting: int = 2, kind: type[Batch] = Batch) -> None:
        self.limits = ServerLimits(slots=slots, waiting=waiting, tokens=10**9, answer_values=10**10)
        self.batch = kind(parameters, slots=slots)
        self.failures = 0
        self.dispatcher = Dispatcher({"m": self.batch}, self.limits, on_failure=self._count)

    def _count(self) -> None:
        self.failures += 1

    def plan(self, **fields: Any) -> RequestPlan:
        wanted = parse_request(CompletionRequest, json.dumps(fields).encode())
        return plan_request(wanted, {"m": ServedModel("m", VOCABULARY, 0, 8)}, self.limits)

    async def pieces(self, **fields: Any) -> list[list[Piece]]:
        """Return the pieces of each text of a request."""
        plan = self.plan(**fields)
        found: list[list[Piece]] = [[] for _ in plan.texts]
        async for index, piece in self.dispatcher.pieces(plan):
            found[index].append(piece)
        return found

    async def texts(self, **fields: Any) -> list[str]:
        return ["".join(piece.text for piece in pieces) for pieces in await self.pieces(**fields)]

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_true():
                await asyncio.sleep(0.005)


@pytest.fixture
def parameters(random_parameters: RandomParameters) -> Parameters:
    return random_parameters(layers=2, scale=0.5)


def bundle_of(parameters: Parameters) -> Bundle:
    return Bundle(Architecture(5, 2, 4, None, True, "tanh", False), parameters, VOCABULARY, "")


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stop": "dd"}], ids=str)
@pytest.mark.parametrize("prompt", ["ab", "ab" * 40])
def test_texts_are_those_that_sample_writes(parameters: Parameters, prompt: str, fields: dict[str, Any]) -> None:
    wanted = TextRequest(100, Sampler(), seed=3, prompt=prompt, stop=fields.get("stop", ""))
    expected = generate_texts(bundle_of(parameters), wanted, samples=5)
    texts = asyncio.run(Place(parameters).texts(prompt=prompt, max_tokens=100, seed=3, n=5, **fields))
    assert texts == [sample.text for sample in expected]


def test_a_request_for_no_characters_is_answered_at_once(parameters: Parameters) -> None:
    found = asyncio.run(Place(parameters).pieces(prompt="a", max_tokens=0, n=2))
    assert found == [[Piece("", (), "length")]] * 2


def test_requests_beyond_the_queue_are_refused_all_or_none(parameters: Parameters) -> None:
    async def ask() -> list[Any]:
        place = Place(parameters)
        first = place.dispatcher.pieces(place.plan(prompt="a", max_tokens=LONG, n=4))
        await anext(first)
        refused = await asyncio.gather(place.texts(prompt="a", n=2), return_exceptions=True)
        taken = await asyncio.gather(place.texts(prompt="a", n=1))
        await first.aclose()
        return [*refused, *taken]

    refused, taken = asyncio.run(ask())
    assert isinstance(refused, RequestError)
    assert (refused.status, refused.code) == (503, "overloaded")
    assert len(taken[0]) == 16


def test_a_request_that_is_given_up_frees_its_slots(parameters: Parameters) -> None:
    async def leave() -> None:
        place = Place(parameters)
        pieces = place.dispatcher.pieces(place.plan(prompt="a", max_tokens=LONG, n=4))
        await anext(pieces)
        assert not place.dispatcher.is_idle
        await pieces.aclose()
        await place.until(lambda: place.dispatcher.is_idle and not len(place.batch))

    asyncio.run(leave())


def test_a_request_takes_no_more_than_half_of_the_slots(parameters: Parameters) -> None:
    async def ask() -> tuple[int, list[str]]:
        place = Place(parameters, slots=4, waiting=20)
        large = place.dispatcher.pieces(place.plan(prompt="a", max_tokens=LONG, n=20))
        await anext(large)
        taken, short = len(place.batch), await place.texts(prompt="b", max_tokens=5, n=2)
        await large.aclose()
        return taken, short

    taken, short = asyncio.run(ask())
    assert taken == 2
    assert [len(text) for text in short] == [5, 5]


def test_a_long_prompt_does_not_keep_a_short_request_waiting(parameters: Parameters) -> None:
    async def ask() -> bool:
        place = Place(parameters, slots=4, waiting=20)
        long = asyncio.create_task(place.texts(prompt="ab" * 30_000, max_tokens=1, n=20))
        await asyncio.sleep(0)
        assert len((await place.texts(prompt="b", max_tokens=5))[0]) == 5
        was_reading = not long.done() and not len(place.batch)
        await long
        return was_reading

    assert asyncio.run(ask())


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=str)
def test_a_text_ends_where_it_is_when_the_time_is_over(parameters: Parameters, fields: dict[str, Any]) -> None:
    async def ask() -> list[Piece]:
        place = Place(parameters, slots=1, waiting=0)
        pieces = place.dispatcher.pieces(place.plan(prompt="a", max_tokens=LONG, **fields))
        found = [await anext(pieces)]
        put_forward(place.limits.seconds)
        found += [piece async for piece in pieces]
        await place.until(lambda: place.dispatcher.is_idle)
        return [piece for _, piece in found]

    pieces = run_forward(ask())
    assert any(piece.text for piece in pieces)
    assert pieces[-1].finish_reason == "length"


def test_a_request_whose_time_is_over_before_it_begins_is_rejected(parameters: Parameters) -> None:
    async def ask() -> None:
        place = Place(parameters, slots=1, waiting=1)
        first = place.dispatcher.pieces(place.plan(prompt="a", max_tokens=LONG))
        await anext(first)
        second = asyncio.create_task(place.texts(prompt="a"))
        await asyncio.sleep(0)
        put_forward(place.limits.seconds)
        await second

    with pytest.raises(RequestError, match="no text began within the time limit") as caught:
        run_forward(ask())
    assert caught.value.status == 503


def test_every_request_is_told_if_the_writing_fails(parameters: Parameters) -> None:
    class Failing(Batch):
        def step(self) -> None:
            raise ZeroDivisionError

    async def ask(place: Place) -> list[Any]:
        both = await asyncio.gather(*(place.texts(prompt="a") for _ in range(2)), return_exceptions=True)
        later = await asyncio.gather(place.texts(prompt="a"), return_exceptions=True)
        return [*both, *later]

    place = Place(parameters, kind=Failing)
    assert [error.status for error in asyncio.run(ask(place))] == [500, 500, 500]
    assert isinstance(place.dispatcher.failure, ZeroDivisionError)
    assert place.failures == 1


def test_weights_that_overflow_end_a_request_with_an_error_of_its_own(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(activation="linear", scale=1.0)
    parameters.layers[0].recurrent_kernel[:] = 3 * np.eye(4)
    with pytest.raises(RequestError) as caught:
        asyncio.run(Place(parameters, slots=2).texts(prompt="a", max_tokens=4000, temperature=0))
    assert caught.value.status == 422


class Asked:
    """A request on its way, and what was read of its texts."""

    def __init__(self, place: Place, parameters: Parameters, fields: dict[str, Any]) -> None:
        plan = place.plan(**fields)
        self.pieces: AsyncGenerator[tuple[int, Piece]] = place.dispatcher.pieces(plan)
        self.texts, self.unfinished = [""] * len(plan.texts), len(plan.texts)
        self.expected = list[str]()
        for prompt in fields["prompt"]:
            wanted = TextRequest(fields["max_tokens"], Sampler(), seed=fields["seed"], prompt=prompt)
            self.expected += [text.text for text in generate_texts(bundle_of(parameters), wanted, samples=fields["n"])]

    async def read(self, count: int) -> None:
        """Read some pieces, or all that are left if they are fewer."""
        for _ in range(count):
            if self.unfinished:
                index, piece = await anext(self.pieces)
                self.texts[index] += piece.text
                self.unfinished -= piece.finish_reason is not None
        assert self.unfinished or self.texts == self.expected


class Requests(RuleBasedStateMachine):
    """Requests that come, are read and are given up in any order, beside each other."""

    @initialize(slots=st.integers(1, 4), waiting=st.integers(0, 3), seed=st.integers(0, 9))
    def begin(self, slots: int, waiting: int, seed: int) -> None:
        self.parameters = make_random_parameters(layers=2, scale=0.5, seed=seed)
        self.runner, self.room = asyncio.Runner(), slots + waiting
        self.place = Place(self.parameters, slots=slots, waiting=waiting)
        self.asked = list[Asked]()

    @rule(
        prompt=st.lists(st.text("abcd", max_size=70), min_size=1, max_size=3),
        max_tokens=st.integers(1, 60),
        n=st.integers(1, 7),
        seed=st.integers(0, 3),
    )
    def ask(self, **fields: Any) -> None:
        fields["prompt"] = fields["prompt"][: self.room]
        fields["n"] = min(fields["n"], self.room // len(fields["prompt"]))
        asked = Asked(self.place, self.parameters, fields)
        is_refused = sum(other.unfinished for other in [*self.asked, asked]) > self.room
        with pytest.raises(RequestError, match="every place in the queue") if is_refused else nullcontext():
            self.runner.run(asked.read(1))
            self.asked.append(asked)

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 9), count=st.integers(1, 5) | st.just(1000))
    def read(self, number: int, count: int) -> None:
        self.runner.run(self.asked[number % len(self.asked)].read(count))

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 9))
    def give_up(self, number: int) -> None:
        self.runner.run(self.asked.pop(number % len(self.asked)).pieces.aclose())

    def teardown(self) -> None:
        for asked in self.asked:
            self.runner.run(asked.read(1000))
            self.runner.run(asked.pieces.aclose())
        self.runner.run(self.place.until(lambda: self.place.dispatcher.is_idle and not len(self.place.batch)))
        self.runner.close()


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=15, stateful_step_count=12)
