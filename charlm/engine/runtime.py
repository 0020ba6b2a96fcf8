"""How TensorFlow starts: without messages, and with its threads set up for a recurrent network.

The products of one step of a recurrent network are too small to be shared between cores: the cores would wait for each
other at every character. So each operation gets one thread, and as many operations run at once as there are cores. The
batch is split into parts, and each core runs its part from the first character of the window to the last.
"""

import contextlib
import importlib.util
import os
import platform
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import FrameType

from charlm.errors import CharlmError
from charlm.hardware import HAS_TENSORFLOW, core_count, install_command
from charlm.storage import temporary_folder
from charlm.training.signals import CAUGHT

ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
"""Variables that TensorFlow reads when it is imported; a value set by the user is kept.

oneDNN's kernels were measured 1.4 to 1.8 times as fast, also on processors for which TensorFlow turns them off. The log
level silences messages about devices that do not exist.
"""


def check_tensorflow() -> None:
    """Check that TensorFlow is installed, without importing it.

    Raises:
        CharlmError: it is not; the message has the command that installs it, or says for which machines it has wheels.

    """
    if importlib.util.find_spec("tensorflow") is not None:
        return
    problem = "TensorFlow is needed for this, but is not installed"
    if HAS_TENSORFLOW:
        raise CharlmError(f"{problem}: {install_command('tensorflow')}")
    machine = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    raise CharlmError(
        f"{problem}: it needs Python 3.11 to 3.13 on Linux or on a Mac with Apple silicon; found {machine}"
    )


def is_loaded() -> bool:
    """Return whether TensorFlow is imported."""
    return "tensorflow" in sys.modules


def start(workers: int = 1, index: int = 0) -> bool:
    """Import TensorFlow, hide graphics cards, and set its threads: one for each operation, one operation for each core.

    Must be called before any other module of `charlm.engine` is imported, except after `load`. A second call changes
    nothing.

    Args:
        workers: How many workers train together: they are connected before TensorFlow's first operation, as they
            cannot be after it.
        index: Which of them this is.

    Returns:
        Whether the threads are those; they are not if the program has used TensorFlow before, which then keeps its own.

    Raises:
        CharlmError: TensorFlow is not installed, the program has imported Keras with another backend before, or the
            address of this worker cannot be used.

    """
    load()
    import tensorflow as tf

    # Grappler, TensorFlow's optimizer of graphs, takes longer than all else that builds a step, and makes it no faster.
    # It also moves the tanh of a step behind the concatenation of the states and keeps the old shape.
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
        from charlm.engine.workers import connect

        connect(workers, index)
    with _silence():
        tf.zeros(1)  # the first operation initializes the devices, which write to standard error
    return True


def load() -> None:
    """Import TensorFlow without starting it, so that other workers can still be connected; raises as `start`."""
    check_tensorflow()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _signals_held(), _silence(), _plain_keras():
        importlib.import_module("tensorflow")
    _set_keras()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Handle the first signal that comes during a block after the block.

    An exception in the middle of TensorFlow's import becomes another error, and leaves modules that are half imported:
    a program that goes on could not train any more. Signals without a handler in Python act as always.
    """
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    is_main_thread = (
        threading.current_thread() is threading.main_thread()
    )  # only there, Python changes handlers
    caught = [number for number in CAUGHT if is_main_thread and callable(signal.getsignal(number))]
    before = {number: signal.signal(number, hold) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


@contextlib.contextmanager
def _plain_keras() -> Iterator[None]:
    """Let Keras, if it is imported in the block, read no settings of the user, and import no matplotlib.

    Keras takes the number format of every weight from the keras.json of the user, raises errors of its own for values
    that it does not know, and writes the file if there is none. It imports matplotlib.pyplot for its image galleries if
    it can, which takes half a second and makes caches in the home of the user; without it, only
    `keras.visualization.plot_image_gallery` does not work. TensorFlow imports Keras.
    """
    if "keras" in sys.modules:
        yield
        return
    before = {name: os.environ.get(name) for name in ("KERAS_HOME", "KERAS_BACKEND")}
    # None is how Python marks a module that must not be imported
    hidden = sys.modules.setdefault("matplotlib", None) is None  # type: ignore[arg-type]
    with temporary_folder() as empty:
        os.environ.update(KERAS_HOME=str(empty), KERAS_BACKEND="tensorflow")
        try:
            yield
        finally:
            if hidden:
                del sys.modules["matplotlib"]
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def _set_keras() -> None:
    """Set what the engine needs of Keras, also if the program has imported Keras before; refuse another backend."""
    import keras

    if (backend := keras.config.backend()) != "tensorflow":
        raise CharlmError(
            f"KERAS_BACKEND: found {backend}, with which this program has imported Keras; must be tensorflow"
        )
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hold back what C++ code writes to standard error, and write it after all if the block raises an Exception.

    TensorFlow reports missing GPUs before its log level can be set (tensorflow issue 62075). A signal that ends the
    block is no failure: nothing is written.
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
