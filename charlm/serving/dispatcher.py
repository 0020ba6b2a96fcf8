"""From a plan to the pieces of its texts: requests that wait for slots, and the task that writes for all of them.

The task lets jobs into the batches of the models, awaits their steps in a thread, and hands on what they report. While
a step runs, the thread alone touches the batches; between steps, the event loop does. A request waits for its reports
in the loop, where everything else about it is done, above all its text.

A prompt is read once, a few characters a step, by one request after the other, and the slots go to the requests that
have the fewest: so a request that asks for much does not keep the others waiting.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import numpy as np

from charlm.network.rnn import Parameters, State
from charlm.sampling.batch import Batch, Chunk, Job
from charlm.sampling.generation import read_prompt
from charlm.serving.answers import Piece
from charlm.serving.jobs import RequestPlan
from charlm.serving.requests import RequestError, ServerLimits

REPORT_SECONDS = 0.1
"""How often the ids of all texts are handed on. An event costs as much as several characters of a small network, so
more of them would slow all texts down; the first character of a text is handed on at once."""
SLICE_SECONDS = 0.01
"""How long steps go on before slots are filled: the thread and the loop wait for each other then."""
READ_CHARACTERS = 32
"""Of a prompt, in a step. Always so many, for the same bits beside any other requests."""

Reports = Sequence[tuple[Job, Chunk]]
_NOTHING = Piece("")
_CUT = Chunk(np.zeros(0, np.int64), reason="length")
"""Ends a text where it is, as if its length were reached."""


class _Ticket:
    """A request on its way: how far its prompts are read, and its texts that are not in slots yet."""

    def __init__(self, plan: RequestPlan) -> None:
        self.plan = plan
        self.inbox: asyncio.Queue[tuple[int, Chunk] | None] = asyncio.Queue()
        """Takes the chunks of each text, by its index; None = the writing has failed."""
        self.next, self.in_slots = 0, 0
        self.unfinished = set(range(len(plan.texts)))
        self._states: list[State] = []  # after each prompt that was read
        self._state: State | None = None  # after the part of the present prompt that was read
        self._position = 0

    @property
    def is_reading(self) -> bool:
        """Whether a prompt is not read to its end."""
        return len(self._states) < len(self.plan.prompts)

    @property
    def is_ready(self) -> bool:
        """Whether the next text can be put into a slot."""
        return self.next < min(len(self.plan.texts), self.plan.copies * len(self._states))

    def read(self, parameters: Parameters) -> None:
        """Read the next part of a prompt by the weights of the model.

        Those without the units that are off are not kept: as many requests as wait would take that much memory.
        """
        ids = self.plan.prompts[len(self._states)]
        end = self._position + READ_CHARACTERS
        self._state, self._position = read_prompt(parameters, ids[self._position : end], self._state), end
        if end >= len(ids):
            self._states.append(self._state)
            self._state, self._position = None, 0

    def take_job(self) -> Job:
        """Return the job of the next text."""
        job = self.plan.job(self.next, self._states[self.next // self.plan.copies])
        self.next, self.in_slots = self.next + 1, self.in_slots + 1
        return job


class Dispatcher:
    """Turns plans into pieces of text; all its methods are for the event loop.

    Args:
        batches: The slots of each model, by its name.
        limits: The bounds.
        on_failure: Called if the writing fails, after the requests were told.

    """

    def __init__(
        self, batches: Mapping[str, Batch], limits: ServerLimits, *, on_failure: Callable[[], None] = lambda: None
    ) -> None:
        self.failure: Exception | None = None
        """What has ended the writing: nothing works without it."""
        self._batches, self._limits, self._on_failure = batches, limits, on_failure
        self._tickets: list[_Ticket] = []
        self._jobs: dict[Job, tuple[_Ticket, int]] = {}
        """The jobs in slots that are still wanted, with the request and the index of the text."""
        self._task: asyncio.Task[None] | None = None
        self._has_news = False  # tells the thread that something is to be let in or dropped
        self._reported, self._turn = time.monotonic(), 0

    @property
    def is_idle(self) -> bool:
        """Whether no text is written, and none waits."""
        return not self._jobs and not any(ticket.is_reading or ticket.is_ready for ticket in self._tickets)

    def parameters(self, model: str) -> Parameters:
        """Return the weights of a model by its name."""
        return self._batches[model].parameters

    async def pieces(self, plan: RequestPlan) -> AsyncGenerator[tuple[int, Piece]]:
        """Yield the pieces of the texts as they become certain, each with the index of its text.

        If the generator is closed before its end, the texts that are not done are given up, and their slots are free.

        Raises:
            RequestError: there is no room (503), no text began within the time limit (503), the weights are not usable
                (422), or the writing has failed (500).

        """
        if plan.length == 0:
            for index, text in enumerate(plan.texts):
                yield index, text.read(_CUT)
            return
        ticket = self._admit(plan)
        try:
            async for index, chunk in self._chunks(ticket):
                if index in ticket.unfinished:
                    piece = plan.texts[index].read(chunk)
                    if piece.finish_reason is not None:
                        ticket.unfinished.remove(index)
                        self._drop(ticket, index)
                    if piece != _NOTHING:
                        yield index, piece
                    await asyncio.sleep(0)  # other requests go on meanwhile
        finally:
            self._drop(ticket)

    async def _chunks(self, ticket: _Ticket) -> AsyncGenerator[tuple[int, Chunk]]:
        """Yield what comes of each text, by its index; when the time is over, texts end where they are."""
        end, has_begun = asyncio.get_running_loop().time() + self._limits.seconds, False
        while ticket.unfinished:
            try:
                async with asyncio.timeout_at(end):  # wait_for of Python 3.11 may swallow a cancellation
                    report = await ticket.inbox.get()
            except TimeoutError:
                if not has_begun:
                    raise _busy("no text began within the time limit") from None
                for index in sorted(ticket.unfinished):
                    yield index, _CUT
                return
            if report is None:
                raise _failed()
            if report[1].reason == "not finite":
                message = "the weights are not finite here: no character can be chosen"
                raise RequestError(422, message, code="not_finite")
            has_begun = True
            yield report

    def _admit(self, plan: RequestPlan) -> _Ticket:
        """Let a request wait for slots, and see to it that there is a task that writes."""
        if self.failure is not None:
            raise _failed()
        taken = sum(len(ticket.unfinished) for ticket in self._tickets if ticket.plan.model == plan.model)
        if taken + len(plan.texts) > self._batches[plan.model].slots + self._limits.waiting:
            raise _busy("every slot and every place in the queue is taken")
        ticket = _Ticket(plan)
        self._tickets.append(ticket)
        self._has_news = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        return ticket

    def _drop(self, ticket: _Ticket, index: int | None = None) -> None:
        """Give up a text of a request, or the request, whether it waits or is written."""
        unwanted = [job for job, found in self._jobs.items() if found[0] is ticket and index in {None, found[1]}]
        for job in unwanted:
            del self._jobs[job]
            ticket.in_slots -= 1
        if index is None and ticket in self._tickets:
            self._tickets.remove(ticket)
        self._has_news |= bool(unwanted) or ticket.is_reading

    async def _write(self) -> None:
        """Write texts until none is left."""
        loop = asyncio.get_running_loop()
        try:
            while not self.is_idle:
                self._fill_slots()
                await asyncio.to_thread(self._step, lambda reports: loop.call_soon_threadsafe(self._hand_on, reports))
            self._fill_slots()  # what was given up leaves its slot
        except Exception as failure:  # of any kind: nobody must wait for a task that has ended
            self.failure = failure
            for ticket in self._tickets:
                ticket.inbox.put_nowait(None)
            self._on_failure()

    def _hand_on(self, reports: Reports) -> None:
        """Give each request what came of its texts."""
        for job, chunk in reports:
            if job in self._jobs:
                ticket, index = self._jobs[job]
                ticket.inbox.put_nowait((index, chunk))
                if chunk.reason is not None:
                    del self._jobs[job]
                    ticket.in_slots -= 1

    def _fill_slots(self) -> None:
        """Take what was given up out of its slots, and fill those that are free."""
        self._has_news = False
        for name, batch in self._batches.items():
            for job in batch.jobs():
                if job not in self._jobs:
                    batch.remove(job)
            most = max(1, batch.slots // 2)  # of a request
            while not batch.is_full:
                ready = [each for each in self._tickets if each.plan.model == name and each.is_ready]
                ticket = min(ready, key=lambda each: each.in_slots, default=None)
                if ticket is None or ticket.in_slots >= most:
                    break
                index, job = ticket.next, ticket.take_job()
                batch.add(job)
                self._jobs[job] = ticket, index

    def _step(self, hand_on: Callable[[Reports], object]) -> None:
        """Step all batches until a slot is free, or something is to be let in or dropped; in a thread.

        Args:
            hand_on: Takes the reports as they come.

        """
        batches, started = self._batches.values(), time.monotonic()
        reading, has_free = [ticket for ticket in self._tickets if ticket.is_reading], False
        with np.errstate(over="ignore", invalid="ignore"):  # a text that is not finite ends, and says so
            while True:
                for batch in batches:
                    if len(batch):
                        batch.step()
                if reading:
                    self._turn += 1
                    ticket = reading[self._turn % len(reading)]
                    ticket.read(self._batches[ticket.plan.model].parameters)
                    if not ticket.is_reading:
                        reading.remove(ticket)
                    has_free |= ticket.is_ready
                now = time.monotonic()
                if is_due := now - self._reported >= REPORT_SECONDS:
                    self._reported = now
                reports = [report for batch in batches for report in batch.take_reports(everything=is_due)]
                if reports:
                    hand_on(reports)
                has_free |= any(chunk.reason is not None for _, chunk in reports)
                is_empty = not any(map(len, batches))
                if (is_empty and (has_free or not reading)) or (
                    now - started >= SLICE_SECONDS and (has_free or self._has_news)
                ):
                    return


def _busy(message: str) -> RequestError:
    return RequestError(503, f"{message}; try again", code="overloaded")


def _failed() -> RequestError:
    return RequestError(500, "the server has failed, and ends")
