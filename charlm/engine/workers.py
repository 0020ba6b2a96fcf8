"""Several workers, connected by TensorFlow's MultiWorkerMirroredStrategy, which reads TF_CONFIG.

They communicate only by all-reduce in a ring, so the same number of workers gives the same bits.
"""

from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.training.workers import Workers

LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
"""Errors of an all-reduce if another worker has ended, or has not answered for ten seconds."""


class ConnectedWorkers(Workers):
    """The workers of TF_CONFIG; the constructor waits for all of them.

    Args:
        count: Number of workers, 2 or more.
        index: Number of this worker, from 0.

    Raises:
        CharlmError: The address of this worker cannot be used.

    """

    def __init__(self, count: int, index: int) -> None:
        self.count = count
        self.index = index
        communication = tf.distribute.experimental
        ring = communication.CommunicationOptions(
            implementation=communication.CommunicationImplementation.RING
        )
        try:
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=ring)
        except (tf.errors.OpError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CharlmError(f"TF_CONFIG: worker {index}: {reason}; is its port in use?") from None
        self._total = tf.function(self._all_reduce)

    def sum(self, tensors: list[Any]) -> list[Any]:
        """Return the sums over all workers, with a single all-reduce."""
        flat = self._all_reduce(tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0))
        sums = tf.split(flat, [tensor.shape.num_elements() for tensor in tensors])
        pairs = zip(sums, tensors, strict=True)
        return [tf.reshape(total, tensor.shape) for total, tensor in pairs]

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of an array over all workers."""
        return np.asarray(self._total(tf.constant(array)))

    def _all_reduce(self, value: Any) -> Any:
        return self._strategy.run(_reduce_in_replica, args=(value,))


def _reduce_in_replica(value: Any) -> Any:
    # The strategy refuses a value that is not on the device of the replica; the copy is.
    return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(value))


@cache
def connect(count: int, index: int) -> Workers:
    """Return the workers of TF_CONFIG, connected once per process; see `ConnectedWorkers`."""
    return ConnectedWorkers(count, index)
