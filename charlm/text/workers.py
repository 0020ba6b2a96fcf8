"""Functions run in several processes, their results in order.

A worker imports what it runs anew: it shares nothing with TensorFlow or the threads of the program that starts it. It
ends with that program, even if that is killed.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from charlm.errors import CharlmError

T = TypeVar("T")
R = TypeVar("R")


class RunAll(Protocol):
    """Runs a function on each of some tasks; yields the results in the order of the tasks."""

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        """Return the results; an error that the function raises is raised in its place in the order."""


@contextlib.contextmanager
def worker_processes(count: int) -> Iterator[RunAll]:
    """Start processes that run functions of modules, for the length of a block.

    Args:
        count: The number of processes, 1 or more; 1 = this process alone.

    Yields:
        A function that runs a function on each of some tasks. Functions, tasks and results must be picklable.

    Raises:
        CharlmError: a process has ended before its work was done.

    """
    if count == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")  # a copy of this process would have its locks, held or not
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin)
    try:
        yield pool.map
    except BrokenProcessPool:
        raise CharlmError(
            f"--workers {count}: one of these processes was ended from outside, perhaps because the memory is full; "
            f"try fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the process that has started this one, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait until the process that has started this one ends, and then end this one at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
