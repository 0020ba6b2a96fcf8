"""The stepping thread: it lets jobs into the batches of the models, steps these, and hands on what they report.

The queue before it is bounded. Everything else about a request, above all its text, is left to the threads that ask.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from charlm.serving.batch import Batch
from charlm.serving.jobs import Chunk, Job

REPORT_SECONDS = 0.1
"""How often the ids of all texts are handed on. An event costs as much as several characters of a small network, so
more of them would slow all texts down; the first character of a text is handed on at once."""

Reports = Sequence[tuple[Job, Chunk]]
_NO_IDS = np.zeros(0, np.int64)


class QueueFullError(Exception):
    """There is no room for the jobs now."""


class Scheduler:
    """The queue and the stepping thread.

    Args:
        batches: The slots of each model, by its name.
        max_waiting: The most jobs that wait for a slot, 0 or more.
        deliver: Takes the reports, in the stepping thread; it must not wait.
        clock: Tells the time in seconds.

    """

    def __init__(
        self,
        batches: Mapping[str, Batch],
        *,
        max_waiting: int,
        deliver: Callable[[Reports], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failure: Exception | None = None
        """What has ended the stepping thread before it was closed: nothing works without it."""
        self._batches, self._max_waiting = batches, max_waiting
        self._deliver, self._clock = deliver, clock
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

    @property
    def is_running(self) -> bool:
        """Whether the stepping thread is alive."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the stepping thread."""
        self._thread.start()

    def close(self) -> None:
        """End the stepping thread after its present step, and wait for it; texts in slots are dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def submit(self, model: str, jobs: Sequence[Job]) -> None:
        """Let jobs wait for slots: all of them or none.

        Raises:
            QueueFullError: there is no room for them all, or the stepping thread has ended.

        """
        with self._changed:
            batch, waiting = self._batches[model], self._waiting[model]
            room = self._max_waiting + batch.slots - len(batch) - self.waiting
            if len(jobs) > room or self.failure is not None or self._is_closed:
                raise QueueFullError
            waiting.extend(jobs)
            self._changed.notify()

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
