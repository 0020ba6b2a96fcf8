"""The start of TensorFlow: its threads, messages and settings, and the connection of workers.

The products of one step of a recurrent network are too small to share between cores: the cores
would wait for each other at every character. So each operation gets one thread, and as many
operations run in parallel as there are cores. The batch is split into parts, and each core computes
a part from the first character of the window to the last.
"""

import contextlib
import importlib.util
import json
import os
import platform
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from charlm.errors import CharlmError
from charlm.hardware import HAS_TENSORFLOW, core_count

ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
"""Variables that TensorFlow reads when it is imported; values set by the user are kept.

With oneDNN, training was 1.4 to 1.8 times as fast, even on processors for which TensorFlow disables
it. The log level hides messages about devices that do not exist.
"""


def check_tensorflow() -> None:
    """Raise CharlmError if TensorFlow is not installed, without importing it."""
    if importlib.util.find_spec("tensorflow") is not None:
        return
    problem = "TensorFlow is needed for this, but is not installed"
    if HAS_TENSORFLOW:
        raise CharlmError(f"{problem}: pip install tensorflow tensorboard")
    machine = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    raise CharlmError(
        f"{problem}: it needs Python 3.11 to 3.13 on Linux or on a Mac with Apple silicon; found "
        f"{machine}"
    )


def start(workers: int = 1, index: int = 0) -> bool:
    """Import TensorFlow without GPUs, and set its threads as described at the top of this module.

    Call this before you import any other module of `charlm.engines`, except after
    `import_tensorflow`. A second call changes nothing.

    Args:
        workers: Number of workers that train together. They are connected here, because that is
            impossible after TensorFlow's first operation.
        index: Number of this worker, from 0.

    Returns:
        Whether the threads were set. If the program has used TensorFlow before, TensorFlow keeps
        its threads.

    Raises:
        CharlmError: TensorFlow is not installed, the program has imported Keras with another
            backend, or the address of this worker cannot be used.

    """
    import_tensorflow()
    import tensorflow as tf

    # Grappler, TensorFlow's graph optimizer, takes most of the time of building a step and does not
    # make it faster. It also moves the tanh of a step behind the concatenation of the states and
    # keeps the old shape.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if tf.config.threading.get_inter_op_parallelism_threads():  # 0 = not set yet
        return True
    try:
        with _silence():
            tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(core_count())
    except RuntimeError:  # the program has used TensorFlow before
        return False
    if workers > 1:
        from charlm.engines.workers import connect

        connect(workers, index)
    with _silence():
        tf.zeros(1)  # the first operation initializes the devices, which write to standard error
    return True


def import_tensorflow() -> None:
    """Import TensorFlow without starting it, so workers can still be connected; see `start`."""
    check_tensorflow()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # TensorFlow imports Keras
    # A signal would interrupt an import in the main thread, and leave half-imported modules.
    with _silence(), ThreadPoolExecutor(1) as thread:
        thread.submit(importlib.import_module, "tensorflow").result()
    _set_keras()


def _set_keras() -> None:
    """Set the defaults of Keras, which the program may have imported before; check its backend."""
    import keras

    if (backend := keras.config.backend()) != "tensorflow":
        raise CharlmError(
            f"KERAS_BACKEND: this program has imported Keras with the backend {backend}; must be "
            f"tensorflow"
        )
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide the output of C++ code to standard error during a block, unless it raises an Exception.

    TensorFlow reports missing GPUs before its log level can be set (tensorflow issue 62075). If a
    signal ends the block, nothing is written.
    """
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def read_tf_config() -> tuple[int, int]:
    """Return the number of workers in the variable TF_CONFIG, and the index of this worker.

    Without the variable, the results are 1 and 0.

    Raises:
        CharlmError: The variable is not valid.

    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return 1, 0
    with contextlib.suppress(ValueError, RecursionError):
        match json.loads(text):
            case {
                "cluster": {"worker": [*workers]},
                "task": {"type": "worker", "index": int(index)},
            } if 0 <= index < len(workers):
                return len(workers), index
    raise CharlmError(
        'TF_CONFIG: must be {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", '
        '"index": N}}, with N from 0 to the number of workers less 1'
    )


def start_with_others(count: int, index: int) -> None:
    """Start TensorFlow and wait for the other workers; meanwhile, Ctrl-C ends the program.

    TensorFlow installs its own handler of SIGTERM; the previous one is restored.

    Raises:
        CharlmError: The program has used TensorFlow before, or `start` fails.

    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        if not start(count, index):
            raise CharlmError(
                "TF_CONFIG: this program has already used TensorFlow; connect the workers earlier"
            )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
