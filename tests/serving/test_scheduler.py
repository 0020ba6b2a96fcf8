"""The stepping thread: jobs wait, write, are given up, and never wait for a thread that has ended."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import RandomParameters

from charlm.sampling.batch import Batch, Chunk, Job
from charlm.sampling.sampler import Sampler
from charlm.serving.scheduler import QueueFullError, Reports, Scheduler

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
def scheduler(batch: Batch, delivered: Delivered) -> Iterator[Scheduler]:
    made = Scheduler({"m": batch}, max_waiting=3, deliver=delivered)
    yield made
    if made.is_running:
        made.close()


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


def test_jobs_beyond_the_queue_are_refused_all_or_none(scheduler: Scheduler) -> None:
    scheduler.submit("m", [job() for _ in range(4)])
    with pytest.raises(QueueFullError):
        scheduler.submit("m", [job(), job()])
    scheduler.submit("m", [job()])
    assert scheduler.waiting == 5


def test_a_job_that_was_given_up_frees_its_slot(scheduler: Scheduler, delivered: Delivered) -> None:
    endless, waiting = [job(10**9), job(10**9)], [job(), job()]
    scheduler.submit("m", [*endless, *waiting])
    scheduler.start()
    scheduler.cancel([*endless, waiting[0]])
    assert delivered.wait_for_ends(1) == ["length"]
    assert [reported for reported, chunk in delivered.reports if chunk.reason] == [waiting[1]]


def test_a_new_job_is_taken_while_another_is_written(scheduler: Scheduler, delivered: Delivered) -> None:
    endless = job(10**9)
    scheduler.submit("m", [endless])
    scheduler.start()
    for _ in range(3):
        scheduler.submit("m", [job()])
    assert delivered.wait_for_ends(3) == ["length"] * 3
    scheduler.cancel([endless])


def test_every_job_is_told_if_the_thread_fails(scheduler: Scheduler, delivered: Delivered) -> None:
    broken = Job(np.array([1]), 5, Sampler(), (-1, 0))  # NumPy takes no such seed
    scheduler.submit("m", [job(10**9), broken, job()])
    scheduler.start()
    assert delivered.wait_for_ends(3) == ["failed"] * 3
    assert isinstance(scheduler.failure, ValueError)
    with pytest.raises(QueueFullError):
        scheduler.submit("m", [job()])


def test_a_closed_scheduler_takes_nothing_more(scheduler: Scheduler) -> None:
    scheduler.start()
    scheduler.close()
    with pytest.raises(QueueFullError):
        scheduler.submit("m", [job()])
