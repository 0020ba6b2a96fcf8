"""From a plan to the pieces of its texts, in the event loop: waits for what the stepping thread reports."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from charlm.serving.answers import Usage
from charlm.serving.errors import RequestError
from charlm.serving.jobs import Chunk, Job
from charlm.serving.limits import Limits
from charlm.serving.plan import Plan
from charlm.serving.scheduler import QueueFullError, Reports, Scheduler
from charlm.serving.text import Piece

RETRY_SECONDS = 1
_NOTHING = Piece("")


class Inboxes:
    """Where the reports of the stepping thread wait for the requests."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inboxes: dict[Job, Inbox] = {}

    def open(self, jobs: Sequence[Job], *, is_patient: bool) -> "Inbox":
        """Return an inbox for the reports of some jobs; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        inbox = Inbox(is_patient=is_patient)
        self._inboxes |= dict.fromkeys(jobs, inbox)
        return inbox

    def close(self, jobs: Sequence[Job]) -> None:
        """Forget jobs; what is still reported of them is dropped."""
        for job in jobs:
            self._inboxes.pop(job, None)

    def deliver(self, reports: Reports) -> None:
        """Hand over reports; called in the stepping thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server ends
                self._loop.call_soon_threadsafe(self._put, reports)

    def _put(self, reports: Reports) -> None:
        for job, chunk in reports:
            if job in self._inboxes:
                self._inboxes[job].put(job, chunk)


class Inbox:
    """The reports of the jobs of one request.

    Args:
        is_patient: Whether only the last report of a job is waited for, and those before it are taken along.

    """

    def __init__(self, *, is_patient: bool) -> None:
        self.is_late = False
        """Whether the time is over; nothing is waited for any more."""
        self._is_patient = is_patient
        self._reports: list[tuple[Job, Chunk]] = []
        self._has_some = asyncio.Event()

    def put(self, job: Job, chunk: Chunk) -> None:
        """Add a report."""
        self._reports.append((job, chunk))
        if chunk.reason is not None or not self._is_patient:
            self._has_some.set()

    def expire(self) -> None:
        """End the waiting."""
        self.is_late = True
        self._has_some.set()

    async def take(self) -> Reports:
        """Wait for reports, and return them in order."""
        await self._has_some.wait()
        if not self.is_late:
            self._has_some.clear()
        reports, self._reports = self._reports, []
        return reports


class Answering:
    """Turns plans into pieces of text."""

    def __init__(self, scheduler: Scheduler, inboxes: Inboxes, limits: Limits) -> None:
        self._scheduler, self._inboxes, self._limits = scheduler, inboxes, limits

    async def pieces(self, plan: Plan) -> AsyncGenerator[tuple[int, Piece]]:
        """Yield the pieces of the texts as they become certain, each with the index of its text.

        If the generator is closed before its end, the texts that are not done are given up, and their slots are free.

        Raises:
            RequestError: there is no room (503), no text began within the time limit (503), the weights are not usable
                (422), or the stepping thread has failed (500).

        """
        has_begun = False
        inbox = self._inboxes.open(plan.jobs, is_patient=plan.is_patient)
        alarm = asyncio.get_running_loop().call_later(self._limits.seconds, inbox.expire)
        unfinished = dict(zip(plan.jobs, range(len(plan.jobs)), strict=True))
        try:
            self._submit(plan)
            while unfinished:
                reports = await inbox.take()
                has_begun = has_begun or bool(reports)
                for job, chunk in reports:
                    if job in unfinished:
                        index = unfinished[job]
                        piece = self._read(plan, index, chunk)
                        if piece.finish_reason is not None:
                            del unfinished[job]
                        if piece != _NOTHING:
                            yield index, piece
                if inbox.is_late and not has_begun:
                    raise _busy("no text began within the time limit")
                if inbox.is_late:
                    for index in unfinished.values():
                        yield index, plan.texts[index].cut()
                    return
        finally:
            alarm.cancel()
            self._scheduler.cancel(list(unfinished))
            self._inboxes.close(plan.jobs)

    def _read(self, plan: Plan, index: int, chunk: Chunk) -> Piece:
        """Return the piece that a chunk of a text makes certain; give up its job if a stop text has ended it."""
        _check(chunk)
        piece = plan.texts[index].read(chunk)
        if piece.finish_reason is not None and chunk.reason is None:
            self._scheduler.cancel([plan.jobs[index]])
        return piece

    def usage(self, plan: Plan) -> Usage:
        """Return what is counted so far."""
        return Usage(plan.prompt_characters, sum(text.generated for text in plan.texts))

    def _submit(self, plan: Plan) -> None:
        try:
            self._scheduler.submit(plan.model, plan.jobs)
        except QueueFullError:
            raise _busy("every slot and every place in the queue is taken") from None


def _busy(message: str) -> RequestError:
    return RequestError(503, f"{message}; try again", code="overloaded", retry_after_seconds=RETRY_SECONDS)


def _check(chunk: Chunk) -> None:
    if chunk.reason == "not finite":
        raise RequestError(422, "the weights are not finite here: no character can be chosen", code="not_finite")
    if chunk.reason == "failed":
        raise RequestError(500, "the server has failed; it must be started again")
