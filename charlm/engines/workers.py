"""Several workers, one on each machine: worker 0 conducts, the others follow.

Worker 0 trains as a single machine does. Before its engine takes steps, or returns or restores its
state, it sends the same call to the others. So every worker has the same weights, and computes the
gradients of its own rows of each batch; TensorFlow's MultiWorkerMirroredStrategy adds them. The
workers communicate only by all-reduce in a ring, so the same number of workers gives the same bits.
"""

import pickle
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charlm.engines.keras_engine import KerasEngine
from charlm.engines.step import Workers
from charlm.errors import CharlmError

CONDUCTED = ("load_initial_weights", "take_steps", "tensors", "restore")
"""Methods of an engine that all workers call."""

PIECE_BYTES = 1 << 18
"""Size of the parts of a message."""


@dataclass(eq=False)
class ConnectedWorkers(Workers):
    """The workers of TF_CONFIG, 2 or more; the constructor waits for all of them.

    Raises:
        CharlmError: The address of this worker cannot be used.

    """

    def __post_init__(self) -> None:
        communication = tf.distribute.experimental
        ring = communication.CommunicationOptions(
            implementation=communication.CommunicationImplementation.RING
        )
        try:
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=ring)
        except (tf.errors.OpError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CharlmError(
                f"TF_CONFIG: worker {self.index}: {reason}; is its port in use?"
            ) from None
        self._total = tf.function(self._all_reduce)

    def sum(self, tensors: list[Any]) -> list[Any]:
        """Return the sum of each tensor over all workers."""
        return [*map(self._all_reduce, tensors)]

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of an array over all workers."""
        return np.asarray(self._total(tf.constant(array)))

    def share(self, value: Any = None) -> Any:
        """Return the value that worker 0 passes, on every worker.

        Whoever reaches these workers can make TensorFlow do anything, so pickle adds no danger.
        """
        message = b"" if self.index else pickle.dumps(value)
        size = int(self.total(np.array(len(message))))
        shared = b""
        while len(shared) < size:  # in pieces of one length, as each length builds another graph
            piece = message[len(shared) :][:PIECE_BYTES].ljust(PIECE_BYTES, b"\0")
            shared += self.total(np.frombuffer(piece, np.int32)).tobytes()
        return pickle.loads(shared)

    def _all_reduce(self, value: Any) -> Any:
        # The strategy refuses a value that is not on the device of the replica; the copy is.
        return self._strategy.run(
            lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.identity(value))
        )


@cache
def connect(count: int, index: int) -> ConnectedWorkers:
    """Return the workers of TF_CONFIG, connected once per process; see `ConnectedWorkers`."""
    return ConnectedWorkers(count, index)


class Conductor:
    """The engine of worker 0, whose calls the engines of the others repeat.

    Args:
        workers: The workers.
        settings: Arguments of `KerasEngine`.

    """

    def __init__(self, workers: ConnectedWorkers, **settings: Any) -> None:
        workers.share((None, (), settings))
        self._workers = workers
        self._engine = KerasEngine(**settings, workers=workers)
        self.restore(self.tensors())

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._engine, name)
        if name not in CONDUCTED:
            return own

        def call(*arguments: Any, **named: Any) -> Any:
            self._workers.share((name, arguments, named))
            return own(*arguments, **named)

        return call


def follow(workers: ConnectedWorkers) -> None:
    """Repeat the calls of worker 0 until it ends; raises CharlmError if this machine cannot."""
    while call := workers.share():
        name, arguments, named = call
        if name is None:
            engine = KerasEngine(**named, workers=workers)
        else:
            getattr(engine, name)(*arguments, **named)
