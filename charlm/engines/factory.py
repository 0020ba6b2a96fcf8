"""The start of TensorFlow, and the factory for engines.

The products of one step of a recurrent network are too small to share between cores: the cores
would wait for each other at every character. So each operation gets one thread, and as many
operations run in parallel as there are cores. The batch is split into parts, and each core computes
a part from the first character of the window to the last. The factory also chooses the kernel and
the precision for this machine.
"""

import contextlib
import importlib.util
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from charlm.config.schema import Config
from charlm.core.batches import Batches
from charlm.core.engine import Engine, EngineFactory
from charlm.engines.kernel import choose_precision, load_kernel
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, ignore
from charlm.hardware import core_count, multiplies_bfloat16
from charlm.wording import counted

if TYPE_CHECKING:
    from charlm.engines.workers import ConnectedWorkers

MIN_ROWS = 4
"""Minimum number of rows in a part of a batch, unless the batch itself has fewer. Compared with
parts of 32 rows, a core reaches 82 to 89% of the speed with 8 rows, 75 to 77% with 4 and about 60%
with 2 (192 to 512 units in float32; in bfloat16 with tiles 52 to 77%, 37 to 56% and 28 to 43%)."""
SILENT_SECONDS = 4.0
"""Time between two notes while TensorFlow is imported."""
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
"""Variables that TensorFlow reads when it is imported; values set by the user are kept.

With oneDNN, training was 1.4 to 1.8 times as fast, even on processors for which TensorFlow disables
it. The log level hides messages about devices that do not exist.
"""


def check_tensorflow() -> None:
    """Raise CharlmError if TensorFlow is not installed, without importing it."""
    if importlib.util.find_spec("tensorflow") is None:
        raise CharlmError(
            "TensorFlow is needed for this, but is not installed: pip install tensorflow "
            "tensorboard; it needs Python 3.11 to 3.13, on Linux or on a Mac with Apple silicon"
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
        CharlmError: TensorFlow is not installed, or the address of this worker cannot be used.

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


def import_tensorflow(on_event: OnEvent = ignore) -> None:
    """Import TensorFlow without starting it, so workers can still be connected; see `start`."""
    check_tensorflow()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # TensorFlow imports Keras
    if "tensorflow" not in sys.modules:
        on_event(Note("starting TensorFlow"))
    # A signal would interrupt an import in the main thread, and leave half-imported modules.
    thread = ThreadPoolExecutor(1)
    imported: Future[object] | None = None
    while True:
        with _silence(), contextlib.suppress(TimeoutError):
            imported = imported or thread.submit(importlib.import_module, "tensorflow")
            thread.shutdown(wait=False)  # so that a signal is answered during the import
            imported.result(SILENT_SECONDS)
            break
        on_event(Note("still starting TensorFlow, which can take 20 s"))
    _set_keras()


def _set_keras() -> None:
    """Set the defaults of Keras, which the program may have imported before."""
    import keras

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


@dataclass
class KerasEngines(EngineFactory):
    """A factory for engines in Keras; TensorFlow starts with the first engine."""

    on_event: OnEvent
    """Function that is called with notes."""
    workers: "ConnectedWorkers | None" = None
    """The workers that share each batch; None = a single one."""

    def __call__(self, config: Config, batches: Batches, *, vocabulary_size: int) -> Engine:
        """Return an engine with random weights."""
        import_tensorflow(self.on_event)
        if not start():
            note = Note(
                "training will be slower: this program is already using TensorFlow, which keeps "
                "its number of threads"
            )
            self.on_event(note)
        from charlm.engines.keras_engine import KerasEngine
        from charlm.engines.workers import Conductor

        if self.workers is None:
            return KerasEngine(config, batches, vocabulary_size=vocabulary_size)
        settings = {"config": config, "batches": batches, "vocabulary_size": vocabulary_size}
        return cast(Engine, Conductor(self.workers, **settings))

    def resolve(self, config: Config, *, is_recorded: bool) -> Config:
        """Return the config with the parts, kernel and precision that this machine trains with.

        Each part of a batch has a core and at least MIN_ROWS rows, since products with few rows
        waste most of a core.
        """
        on_event = self.on_event
        workers = 1 if self.workers is None else self.workers.count
        rows = config.training.batch_size // workers
        parts = config.training.parts or max(1, min(core_count(), rows // MIN_ROWS))
        config = config.with_training(parts=parts)
        if config.training.precision == "auto":
            uses_keras = config.training.kernel == "keras" or _unsupported_setting(config)
            precision = "float32" if uses_keras else choose_precision(on_event).name
            config = config.with_training(precision=precision)
        if config.training.precision == "bfloat16" and not multiplies_bfloat16():
            problem = "this processor cannot multiply bfloat16"
            on_event(_replaced("training.precision", "float32", problem, changes_bits=is_recorded))
            config = config.with_training(precision="float32")
        return resolve_kernel(config, on_event=on_event, is_recorded=is_recorded)


@contextlib.contextmanager
def connected_engines(on_event: OnEvent) -> Iterator[KerasEngines]:
    """Connect the workers of TF_CONFIG, and return a factory for engines during a block.

    On other workers than worker 0 the block is not entered: they follow worker 0 until it ends.

    Args:
        on_event: Function that is called with notes.

    Raises:
        CharlmError: TF_CONFIG is not valid, the address of this worker cannot be used, TensorFlow
            has been used before in this program, or another worker is lost.
        SystemExit: Worker 0 has ended, on another worker.

    """
    count, index = read_tf_config()
    if count == 1:
        yield KerasEngines(on_event)
        return
    others = counted(count - 1, "other worker")
    on_event(Note(f"TF_CONFIG: this is worker {index}; waiting for {others}"))
    start_with_others(count, index)
    from charlm.engines.model import LOST
    from charlm.engines.workers import connect, follow

    workers = connect(count, index)
    try:
        if index:
            on_event(Note("following worker 0, which has the text, the settings and the run"))
            follow(workers)
            raise SystemExit
        yield KerasEngines(on_event, workers)
        workers.share()  # the end
    except LOST:
        raise CharlmError(
            "TF_CONFIG: another worker has ended or does not answer; its output may say why; "
            "resume the run to continue it from its last checkpoint"
        ) from None


def resolve_kernel(
    config: Config, *, on_event: OnEvent = ignore, is_recorded: bool = False
) -> Config:
    """Return the config with the kernel of this machine: the compiled kernel, or Keras.

    Args:
        config: Every setting of a run.
        on_event: Called with notes.
        is_recorded: Whether the config is from a run that has begun; Keras then replaces a kernel
            that this machine lacks.

    Raises:
        CharlmError: The config asks for the compiled kernel, which is missing or does not support a
            setting.

    """
    choice = config.training.kernel
    if choice == "keras":
        return config
    unsupported = _unsupported_setting(config)
    if unsupported is None:
        problem = _kernel_problem(config.training.precision, on_event)
    else:
        problem = f"the compiled kernel does not support model.rnn.{unsupported}"
    if problem is None:
        return config.with_training(kernel="compiled")
    is_chosen = choice == "compiled"
    if is_chosen and not is_recorded:
        raise CharlmError(f"training.kernel: found compiled; must be keras: {problem}")
    if is_chosen or unsupported is None:
        on_event(_replaced("training.kernel", "keras", problem, changes_bits=is_chosen))
    return config.with_training(kernel="keras")


def _replaced(key: str, used: str, problem: str, *, changes_bits: bool) -> Note:
    """Return a note that this machine trains with another value of a setting."""
    consequence = "; results will not be bit-identical" if changes_bits else ""
    return Note(f"{key}: using {used}, because {problem}{consequence}", is_warning=True)


def _unsupported_setting(config: Config) -> str | None:
    """Return a setting of the layers that the kernel does not support, or None."""
    settings = config.model.rnn.model_dump()
    kinds = ("dropout", "regularizer", "constraint")
    unsupported = [name for name in settings if name.rpartition("_")[2] in kinds]
    unsupported.remove("recurrent_dropout")
    return next((name for name in unsupported if settings[name]), None)


def _kernel_problem(precision: str, on_event: OnEvent) -> str | None:
    """Return why this machine has no kernel for a precision, or None if it has a kernel."""
    try:
        kernel = load_kernel(on_event)
    except CharlmError as error:
        return str(error)
    if precision == "bfloat16" and not kernel.has_bfloat16:
        return (
            "the compiled kernel has no bfloat16, although this processor has; see $CHARLM_CFLAGS"
        )
    return None
