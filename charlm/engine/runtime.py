"""How TensorFlow starts: without messages, and with its threads set up for a recurrent network.

The products of one step of a recurrent network are too small to be shared between cores: the cores would wait for each
other at every character. So each operation gets one thread, and as many operations run at once as there are cores. The
batch is split into parts, and each core runs its part from the first character of the window to the last.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from charlm.hardware import core_count

ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
"""Variables that TensorFlow and Keras read when they are imported; a value set by the user is kept.

oneDNN's kernels were measured 1.4 to 1.8 times as fast, also on processors for which TensorFlow turns them off. The log
level silences messages about devices that do not exist.
"""


def start() -> None:
    """Import TensorFlow and set its threads: one for each operation, and one operation for each core.

    Must be called before any other module of `charlm.engine` is imported. A second call changes nothing.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _silence():
        import tensorflow as tf
    if tf.config.threading.get_inter_op_parallelism_threads():  # 0 = not set yet
        return
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(core_count())
    # Grappler moves the tanh of a step behind the concatenation of the states and keeps the old shape.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    with _silence():
        tf.zeros(1)  # the first operation initializes the devices, which write to standard error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hold back what C++ code writes to standard error; write it after all if the block fails.

    TensorFlow reports missing GPUs before its log level can be set (tensorflow issue 62075).
    """
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
