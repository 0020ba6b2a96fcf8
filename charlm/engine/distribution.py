"""The parts of a batch on one machine, or on several machines that TensorFlow connects.

A batch is cut into parts; every machine computes the gradients of its own, consecutive parts, and adds them as far as
the order of `charlm.training.parts` lets it. The sums of all machines are gathered, not reduced, and each machine adds
them in that order, since the order of an all-reduce depends on the number of machines. So machines that are alike get
the weights of a single one, to the bit.

TensorFlow's MultiWorkerMirroredStrategy gathers between machines.
"""

import contextlib
import json
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.eager import context  # the health check is in no public module, as of TensorFlow 2.21

from charlm.engine.cluster import Cluster, PeerFailedError, WorkerLostError, wait_for_all
from charlm.engine.recurrence import Tensor
from charlm.errors import CharlmError
from charlm.training.signals import Session

CHUNK_BYTES = 1 << 24
"""How many bytes `Machines.exchange` gathers of each machine at once."""
WORD = 1 << 31
"""A count of bytes is sent as two numbers below this."""
CHECK_SECONDS = 2.0
"""The time between two checks."""


class Machine:
    """A single machine: it computes all parts."""

    count = 1
    task = 0

    def gather(self, sums: list[list[Tensor]], *, count: int) -> list[list[Tensor]]:
        """Return the tensors of all machines, in order, given those of this machine; within a graph.

        Args:
            sums: Some lists of float32 tensors, of the same shapes in every list.
            count: The number of lists of all machines.

        """
        return sums

    def gather_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the rows of all machines [B, H], in order, given the rows of this one."""
        return rows

    def agree(self, steps: int, signal: int) -> tuple[int, int]:
        """Return what all machines do next; see `charlm.training.interface.Engine.agree`."""
        return steps, signal

    def share(self, data: bytes) -> bytes:
        """Return what the chief has passed; the others pass anything."""
        return data

    def run(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns that waits for the other machines; raises WorkerLostError if one is lost."""
        return call()


class Machines(Machine):
    """Machines that train together. Every method that talks to the others must be called on all of them.

    Everything but the sums of a step passes through `exchange`, where a machine that has failed says so: wherever the
    others are by then, they meet it in their next exchange.

    Args:
        cluster: Which machines, and which of them this is.
        session: The user of the training: a signal is answered between exchanges, not within one.

    Raises:
        CharlmError: the address of this machine cannot be used.
        WorkerLostError: a machine has not come in time.

    """

    def __init__(self, cluster: Cluster, session: Session) -> None:
        self.cluster, self.count, self.task, self._session = cluster, len(cluster.addresses), cluster.task, session
        wait_for_all(cluster)
        self._strategy = _connect(cluster)
        self._watch = PeerWatch(cluster)
        self._all_gather = tf.function(self._gather, input_signature=[tf.TensorSpec((None, None), tf.int32)])

    def close(self, error: BaseException | None = None) -> None:
        """Leave the other machines when each of them has come to its end, or tell them why this one ends before.

        Args:
            error: What has ended the program here; None = nothing.

        Raises:
            PeerFailedError: another machine has failed at its end.

        """
        if error is None:
            self.exchange(b"")
        elif not isinstance(error, WorkerLostError | PeerFailedError):  # which the others know
            with contextlib.suppress(CharlmError):
                failure = {"error": str(error), "exit_code": getattr(error, "exit_code", 1)}
                self.exchange(json.dumps(failure).encode(), has_failed=True)
        self._watch.close()

    def gather(self, sums: list[list[Tensor]], *, count: int) -> list[list[Tensor]]:
        """Return the tensors of all machines; see `Machine.gather`."""
        shapes = [tensor.shape for tensor in sums[0]]
        sizes = [shape.num_elements() for shape in shapes]
        own = tf.stack([tf.concat([tf.reshape(tensor, [-1]) for tensor in row], 0) for row in sums])
        gathered = [tf.split(row, sizes) for row in tf.unstack(self._gather(own), count)]
        return [[tf.reshape(tensor, shape) for tensor, shape in zip(row, shapes, strict=True)] for row in gathered]

    def gather_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the rows of all machines; see `Machine.gather_rows`."""
        gathered = np.frombuffer(b"".join(self.exchange(rows.tobytes())), np.float32)
        return gathered.reshape(-1, rows.shape[1]).copy()

    def agree(self, steps: int, signal: int) -> tuple[int, int]:
        """Return what all machines do next; see `Machine.agree`. The end of the chief counts more than a signal."""
        (chiefs, number), *others = (
            struct.unpack("<ii", data) for data in self.exchange(struct.pack("<ii", steps, signal))
        )
        if not chiefs:
            return 0, number
        received = [number for _, number in others if number]
        return (0, received[0]) if received else (chiefs, 0)

    def share(self, data: bytes) -> bytes:
        """Return what the chief has passed; the others pass anything."""
        return self.exchange(data if self.task == 0 else b"")[0]

    def exchange(self, data: bytes, *, has_failed: bool = False) -> list[bytes]:
        """Return what every machine has passed, in order.

        Args:
            data: Anything.
            has_failed: Whether it says why this machine ends: JSON with the keys error and exit_code.

        Raises:
            PeerFailedError: another machine has failed.
            WorkerLostError: another machine is lost.

        """
        heads = self._gather_words(np.array([has_failed, *divmod(len(data), WORD)], np.int32))
        sizes = [int(high) * WORD + int(low) for _, high, low in heads]
        received = [b""] * self.count
        for start in range(0, max(sizes), CHUNK_BYTES):
            length = -(-min(CHUNK_BYTES, max(sizes) - start) // 4) * 4
            block = data[start : start + CHUNK_BYTES].ljust(length, b"\0")
            for task, row in enumerate(self._gather_words(np.frombuffer(block, np.int32))):
                received[task] += row.tobytes()[: max(0, sizes[task] - start)]
        for task, (head, message) in enumerate(zip(heads, received, strict=True)):
            if head[0] and not has_failed:
                raise PeerFailedError(self.cluster.name(task), **json.loads(message))
        return received

    def _gather_words(self, words: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the numbers that every machine has passed, int32 [machines, n]; n must be the same on all."""
        gathered: NDArray[np.int32] = self.run(lambda: self._all_gather(words[None]).numpy())
        return gathered

    def run(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns that waits for the other machines; see `Machine.run`."""
        try:
            with self._session.uninterrupted(), self._watch.watching():
                return call()
        except (tf.errors.OpError, SystemError) as error:
            line = lost_worker(self.cluster, self._watch, str(error))
            if self.count > 2:
                time.sleep(CHECK_SECONDS)  # while the others ask who is lost, this machine must answer
            raise WorkerLostError(line) from None

    def _gather(self, value: Tensor) -> Tensor:
        """Return the rows of all machines, within a graph."""

        def gather_in_replica(rows: Tensor) -> Tensor:
            """Gather; the copy gives the rows the device of the replica, without which the strategy refuses them."""
            return tf.distribute.get_replica_context().all_gather(tf.identity(rows), axis=0)

        return self._strategy.run(gather_in_replica, args=(value,))


def _connect(cluster: Cluster) -> tf.distribute.Strategy:
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.task,
        rpc_layer="grpc",
    )
    ring = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver, communication_options=ring)
    except (tf.errors.OpError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CharlmError(
            f"--cluster: {cluster.name(cluster.task)}: cannot be used on this machine: {reason}"
        ) from None


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
