"""Finding out that another machine of the cluster does not answer any more.

A machine that is killed is noticed by TensorFlow, since its connections break. One that hangs, or whose network is
gone, is not: the others would wait for it without end. So a thread asks for the health of all others while this one
waits.
"""

import contextlib
import re
import threading
import time
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import context  # the health check is in no public module, as of TensorFlow 2.21

from charlm.training.cluster import Cluster

CHECK_SECONDS = 2.0
"""The time between two checks."""


class PeerWatch:
    """Watches the other machines of a cluster, in a thread, while this one waits for them.

    Args:
        cluster: The machines, and the limits.

    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._others = [task for task in range(len(cluster.addresses)) if task != cluster.task]
        self._is_closed, self._is_waiting = threading.Event(), threading.Event()
        self._lost: int | None = None
        self._asked: tuple[int, float] | None = None
        """Which worker has been asked and has not answered yet, and since when."""
        threading.Thread(target=self._check, daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Check the health of the others during a block that waits for them."""
        self._is_waiting.set()
        try:
            yield
        finally:
            self._is_waiting.clear()

    def silent(self) -> int | None:
        """Return the machine that is lost, or that has not answered for CHECK_SECONDS; None if there is none."""
        asked = self._asked
        if self._lost is None and asked is not None and time.monotonic() - asked[1] >= CHECK_SECONDS:
            return asked[0]
        return self._lost

    def unhealthy(self) -> list[int]:
        """Return which of the other machines do not answer now."""
        return [task for task in self._others if not self._answers(task, seconds=CHECK_SECONDS)]

    def _check(self) -> None:
        """Abort what this machine waits for when another one does not answer for too long."""
        while not self._is_closed.wait(CHECK_SECONDS):
            if not self._is_waiting.is_set():
                continue
            for task in self._others:
                started = time.monotonic()
                self._asked = task, started
                does_answer = self._answers(task, seconds=max(1.0, self._cluster.lost_seconds - CHECK_SECONDS))
                self._asked = None
                if not does_answer:
                    self._lost = task
                    silent = time.monotonic() - started
                    context.context().abort_collective_ops(
                        tf.errors.UNAVAILABLE, f"/task:{task} has not answered for {silent:.0f} s"
                    )
                    return

    def _answers(self, task: int, *, seconds: float) -> bool:
        try:
            context.context().check_collective_ops_peer_health(
                f"/job:worker/replica:0/task:{task}", timeout_in_ms=int(1000 * seconds)
            )
        except tf.errors.OpError:
            return False
        return True


def lost_worker(cluster: Cluster, watch: PeerWatch, error: str) -> str:
    """Return the line for the user about an error of TensorFlow: which worker is lost.

    A machine that finds another one lost ends soon, and then answers as little. So the first that was silent counts.
    """
    first = watch.silent()
    silent = watch.unhealthy() if first is None else [first]
    named = [int(task) for task in re.findall(r"/task:(\d+)", error) if int(task) != cluster.task]
    lost = silent or named[-1:]  # the last one named is where the error began
    names = ", ".join(cluster.name(task) for task in lost) or "a worker"
    return f"{names}: lost; continue with --resume from the last checkpoint of {cluster.name(0)}"
