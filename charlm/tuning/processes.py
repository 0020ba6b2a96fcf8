"""Several processes of one search on one machine, each on cores of its own.

They share nothing but the folder of the search, in which each takes the next trial.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from charlm.errors import CharlmError
from charlm.text.workers import end_with_parent
from charlm.training.signals import StopRequest

T = TypeVar("T")


def share_cores(processes: int) -> list[set[int]]:
    """Return the cores of each process, the same number for all, so that all cut their batches into as many parts.

    Args:
        processes: 2 or more.

    Raises:
        CharlmError: there are fewer cores, or this system cannot hold a process to some of them.

    """
    if not hasattr(os, "sched_setaffinity"):
        raise CharlmError(
            f"--processes: found {processes}; must be 1 on this system, which cannot hold a process to some cores; the "
            f"same command can be started several times"
        )
    cores = sorted(os.sched_getaffinity(0))
    if processes > len(cores):
        raise CharlmError(f"--processes: found {processes}; must be at most {len(cores)}, the number of cores")
    size = len(cores) // processes
    return [set(cores[number * size : (number + 1) * size]) for number in range(processes)]


@contextlib.contextmanager
def searching_beside(
    search: Callable[[T], object],
    task: T,
    *,
    shares: Sequence[set[int]],
    request: StopRequest,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Let other processes search during a block, each process on its share of the cores, and wait for them at its end.

    If the block fails or a signal has come, they are told to end: they save the trial in training.

    Args:
        search: What the others call with the task: a function of a module, which a new process can import.
        task: Must be picklable.
        shares: The cores of each process, those of this one first; empty = this process alone, on all cores.
        request: Has the signal that ends this process.
        say: Takes a line for the user about each of the others that has failed or was killed.

    """
    if not shares:
        yield
        return
    own, *beside = shares
    context = multiprocessing.get_context("spawn")  # a copy of this process would have its locks, held or not
    failures = context.SimpleQueue()
    others = [context.Process(target=_run, args=(search, task, cores, failures), daemon=True) for cores in beside]
    for process in others:
        process.start()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, own)
    try:
        yield
        if request.signal is None:
            _wait_for(others)
            for _ in filter(None, (process.exitcode for process in others)):
                say("a process of the search was ended from outside, perhaps because the memory is full")
    finally:
        os.sched_setaffinity(0, before)
        for process in others:
            process.terminate()  # changes nothing if it has ended
        _wait_for(others)
    while not failures.empty():
        say(f"a process of the search has failed: {failures.get()}")


def _run(search: Callable[[T], object], task: T, cores: set[int], failures: "SimpleQueue[str]") -> None:
    os.sched_setaffinity(0, cores)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        search(task)
    except CharlmError as error:
        failures.put(str(error))
    except KeyboardInterrupt:  # a signal came while nothing was trained
        pass


def _wait_for(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.join()
