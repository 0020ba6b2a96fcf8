"""Several workers by TensorFlow's own engine: MultiWorkerMirroredStrategy, which reads TF_CONFIG.

All that passes between them is an all-reduce, in a ring: the same number of workers gives the same bits.
"""

from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charlm.engine.model import Tensor
from charlm.errors import CharlmError
from charlm.training.workers import Workers

LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
"""What TensorFlow raises in an all-reduce, within some ten seconds, if another worker has ended or does not answer."""


class ConnectedWorkers(Workers):
    """The workers of TF_CONFIG; returns when all of them have come.

    Args:
        count: How many there are, 2 or more.
        index: Which of them this is.

    Raises:
        CharlmError: the address of this worker cannot be used.

    """

    def __init__(self, count: int, index: int) -> None:
        self.count, self.index = count, index
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

    def sum(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return the sums over all workers, by one all-reduce; see `Workers.sum`."""
        flat = self._all_reduce(tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0))
        sums = tf.split(flat, [tensor.shape.num_elements() for tensor in tensors])
        return [tf.reshape(one, tensor.shape) for one, tensor in zip(sums, tensors, strict=True)]

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum over all workers of an array."""
        return np.asarray(self._total(tf.constant(array)))

    def _all_reduce(self, value: Tensor) -> Tensor:
        def reduce(own: Tensor) -> Tensor:
            """Reduce; the copy gives the value the device of the replica, without which the strategy refuses it."""
            return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(own))

        return self._strategy.run(reduce, args=(value,))


@cache
def connect(count: int, index: int) -> Workers:
    """Return the workers of TF_CONFIG, which a process connects once; raises CharlmError as `ConnectedWorkers`."""
    return ConnectedWorkers(count, index)
