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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.eager import context  # the health check is in no public module, as of TensorFlow 2.21

from charlm.engine.recurrence import Tensor
from charlm.errors import CharlmError
from charlm.training.cluster import Cluster, WorkerLostError, wait_for_all

CHUNK_BYTES = 1 << 24
"""How many bytes `Machines.broadcast` sends at once."""
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

    def run(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns that waits for the other machines; raises WorkerLostError if one is lost."""
        return call()


class Machines(Machine):
    """Machines that train together. Every method that talks to the others must be called on all of them.

    Args:
        cluster: Which machines, and which of them this is.

    Raises:
        CharlmError: the address of this machine cannot be used.
        WorkerLostError: a machine has not come in time.

    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.count, self.task = cluster, len(cluster.addresses), cluster.task
        wait_for_all(cluster)
        self._strategy = _connect(cluster)
        self._watch = PeerWatch(cluster)
        self._all_gather = {dtype: self._compile_gather(dtype) for dtype in (tf.int32, tf.float32)}

    def close(self) -> None:
        """Stop watching the other machines."""
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
        gathered: NDArray[np.float32] = self.run(lambda: self._all_gather[tf.float32](rows).numpy())
        return gathered

    def exchange(self, numbers: Sequence[int] | NDArray[np.int32]) -> NDArray[np.int32]:
        """Return what every machine has passed, int32 [machines, n]; n must be the same on all."""
        own = np.asarray(numbers, np.int32)[None]
        gathered: NDArray[np.int32] = self.run(lambda: self._all_gather[tf.int32](own).numpy())
        return gathered

    def exchange_facts(self, facts: Any) -> list[Any]:
        """Return what every machine has passed: anything that JSON can hold."""
        text = json.dumps(facts).encode()
        sizes = self.exchange([len(text)])[:, 0]
        padded = np.frombuffer(text.ljust(-(-int(sizes.max()) // 4) * 4), np.int32)
        return [json.loads(row.tobytes()[:size]) for row, size in zip(self.exchange(padded), sizes, strict=True)]

    def broadcast(self, data: bytes) -> bytes:
        """Return what the chief has passed; the others pass anything."""
        size = int(self.exchange([len(data) if self.task == 0 else 0])[0, 0])
        blocks = [data[start : start + CHUNK_BYTES] for start in range(0, size, CHUNK_BYTES)]
        received = b""
        for index in range(-(-size // CHUNK_BYTES)):
            block = blocks[index] if self.task == 0 else b""
            length = min(CHUNK_BYTES, size - index * CHUNK_BYTES)
            words = np.frombuffer(block.ljust(-(-length // 4) * 4, b"\0"), np.int32)
            received += self.exchange(words)[0].tobytes()[:length]
        return received

    def run(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns that waits for the other machines; see `Machine.run`."""
        try:
            with self._watch.watching():
                return call()
        except (tf.errors.OpError, SystemError) as error:
            line = lost_worker(self.cluster, self._watch, str(error))
            if self.count > 2:
                time.sleep(CHECK_SECONDS)  # while the others ask who is lost, this machine must answer
            raise WorkerLostError(line) from None

    def _compile_gather(self, dtype: tf.DType) -> Callable[[Any], Tensor]:
        signature = [tf.TensorSpec((None, None), dtype)]
        compiled: Callable[[Any], Tensor] = tf.function(self._gather, input_signature=signature)
        return compiled

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
