"""From a plan to the pieces of its texts: a thread that steps the batches of the models, and requests that wait for it.

The stepping thread lets jobs into the batches, steps these, and hands on what they report; the queue before it is
bounded. Everything else about a request, above all its text, is done in the event loop, which waits for the reports.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import numpy as np

from charlm.sampling.batch import Batch, Chunk, Job
from charlm.serving.answers import Piece
from charlm.serving.jobs import Plan
from charlm.serving.requests import Limits, RequestError

REPORT_SECONDS = 0.1
"""How often the ids of all texts are handed on. An event costs as much as several characters of a small network, so
more of them would slow all texts down; the first character of a text is handed on at once."""

Reports = Sequence[tuple[Job, Chunk]]
_NO_IDS = np.zeros(0, np.int64)
_NOTHING = Piece("")


class Scheduler:
    """The queue and the stepping thread.

    Args:
        batches: The slots of each model, by its name.
        max_waiting: The most jobs that wait for a slot, 0 or more.
        deliver: Takes the reports, in the stepping thread; it must not wait.
        on_failure: Is called in the stepping thread when it fails, after its jobs were told.
        clock: Tells the time in seconds.

    """

    def __init__(
        self,
        batches: Mapping[str, Batch],
        *,
        max_waiting: int,
        deliver: Callable[[Reports], None],
        on_failure: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failure: Exception | None = None
        """What has ended the stepping thread before it was closed: nothing works without it."""
        self._batches, self._max_waiting = batches, max_waiting
        self._deliver, self._on_failure, self._clock = deliver, on_failure, clock
        self._waiting: dict[str, deque[Job]] = {name: deque() for name in batches}
        self._cancelled: deque[Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._reported = clock()
        self._thread = threading.Thread(target=self._run, name="stepping", daemon=True)

    @property
    def active(self) -> int:
        """The number of jobs in slots."""
        return sum(len(batch) for batch in self._batches.values())

    @property
    def waiting(self) -> int:
        """The number of jobs that wait for a slot."""
        return sum(len(jobs) for jobs in self._waiting.values())

    def start(self) -> None:
        """Start the stepping thread."""
        self._thread.start()

    def close(self) -> None:
        """End the stepping thread after its present step, and wait for it; texts in slots are dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def submit(self, model: str, jobs: Sequence[Job]) -> bool:
        """Let jobs wait for slots; return whether there is room for them all and the stepping thread has not ended."""
        with self._changed:
            batch, waiting = self._batches[model], self._waiting[model]
            room = self._max_waiting + batch.slots - len(batch) - self.waiting
            if len(jobs) > room or self.failure is not None or self._is_closed:
                return False
            waiting.extend(jobs)
            self._changed.notify()
            return True

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Give up jobs, whether they wait or write; those that are done are left alone."""
        with self._changed:
            self._cancelled.extend(jobs)
            self._changed.notify()

    def _run(self) -> None:
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # a text that is not finite ends, and says so
                while self._admit():
                    self._step()
        except Exception as failure:  # of any kind: nobody must wait for a thread that has ended
            self.failure = failure
            in_slots = [job for batch in self._batches.values() for job in batch.jobs()]
            with self._changed:
                jobs = [*in_slots, *(job for jobs in self._waiting.values() for job in jobs)]
            self._deliver([(job, Chunk(_NO_IDS, reason="failed")) for job in jobs])
            self._on_failure()

    def _admit(self) -> bool:
        """Wait for jobs, fill free slots with them and drop those that were given up; return whether to go on."""
        if not (self._cancelled or self._is_closed or self.waiting or not self.active):
            return True  # without the lock: nothing has changed since the last step
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._cancelled or self.waiting or self.active)
            while self._cancelled:
                self._drop(self._cancelled.popleft())
            for name, batch in self._batches.items():
                while self._waiting[name] and not batch.is_full:
                    batch.add(self._waiting[name][0])
                    self._waiting[name].popleft()  # afterwards: if the thread fails, the job is still known
            return not self._is_closed

    def _drop(self, job: Job) -> None:
        for name, batch in self._batches.items():
            if job in self._waiting[name]:
                self._waiting[name].remove(job)
            batch.remove(job)

    def _step(self) -> None:
        """Step every batch that has texts, and hand on what is due."""
        now = self._clock()
        is_due = now - self._reported >= REPORT_SECONDS
        self._reported = now if is_due else self._reported
        reports = []
        for batch in self._batches.values():
            if len(batch):
                batch.step()
                reports += batch.take_reports(everything=is_due)
        if reports:
            self._deliver(reports)


class Answering:
    """Turns plans into pieces of text.

    Args:
        batches: The slots of each model, by its name.
        limits: The bounds.
        on_failure: Is called in the stepping thread when it fails, after its jobs were told.

    """

    def __init__(
        self, batches: Mapping[str, Batch], limits: Limits, *, on_failure: Callable[[], None] = lambda: None
    ) -> None:
        self.scheduler = Scheduler(batches, max_waiting=limits.waiting, deliver=self._deliver, on_failure=on_failure)
        self._limits = limits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inboxes: dict[Job, asyncio.Queue[tuple[Job, Chunk]]] = {}
        """Where the reports of each job go: one queue for the jobs of a request."""

    async def pieces(self, plan: Plan) -> AsyncGenerator[tuple[int, Piece]]:
        """Yield the pieces of the texts as they become certain, each with the index of its text.

        If the generator is closed before its end, the texts that are not done are given up, and their slots are free.

        Raises:
            RequestError: there is no room (503), no text began within the time limit (503), the weights are not usable
                (422), or the stepping thread has failed (500).

        """
        self._loop, has_begun = asyncio.get_running_loop(), False
        inbox: asyncio.Queue[tuple[Job, Chunk]] = asyncio.Queue()
        self._inboxes |= dict.fromkeys(plan.jobs, inbox)
        end = self._loop.time() + self._limits.seconds
        unfinished = {job: index for index, job in enumerate(plan.jobs)}
        try:
            if not self.scheduler.submit(plan.model, plan.jobs):
                raise _busy("every slot and every place in the queue is taken")
            while unfinished:
                try:
                    async with asyncio.timeout_at(end):  # wait_for of Python 3.11 may swallow a cancellation
                        job, chunk = await inbox.get()
                except TimeoutError:
                    if not has_begun:
                        raise _busy("no text began within the time limit") from None
                    for index in unfinished.values():
                        yield index, plan.texts[index].cut()
                    return
                has_begun = True
                if job in unfinished:
                    index = unfinished[job]
                    piece = self._read(plan, index, chunk)
                    if piece.finish_reason is not None:
                        del unfinished[job]
                    if piece != _NOTHING:
                        yield index, piece
                    await asyncio.sleep(0)  # other requests go on meanwhile
        finally:
            self.scheduler.cancel(list(unfinished))
            for job in plan.jobs:
                self._inboxes.pop(job, None)  # what is still reported of it is dropped

    def _deliver(self, reports: Reports) -> None:
        """Hand reports over to the event loop; called in the stepping thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server ends
                self._loop.call_soon_threadsafe(self._put, reports)

    def _put(self, reports: Reports) -> None:
        for job, chunk in reports:
            if job in self._inboxes:
                self._inboxes[job].put_nowait((job, chunk))

    def _read(self, plan: Plan, index: int, chunk: Chunk) -> Piece:
        """Return the piece that a chunk of a text makes certain; give up its job if a stop text has ended it."""
        _check(chunk)
        piece = plan.texts[index].read(chunk)
        if piece.finish_reason is not None and chunk.reason is None:
            self.scheduler.cancel([plan.jobs[index]])
        return piece


def _busy(message: str) -> RequestError:
    return RequestError(503, f"{message}; try again", code="overloaded")


def _check(chunk: Chunk) -> None:
    if chunk.reason == "not finite":
        raise RequestError(422, "the weights are not finite here: no character can be chosen", code="not_finite")
    if chunk.reason == "failed":
        raise RequestError(500, "the server has failed, and ends")
