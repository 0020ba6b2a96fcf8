"""The factory for engines, which also chooses the kernel and the precision for this machine."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from charlm.config.schema import Config
from charlm.core.batches import Batches
from charlm.core.engine import Engine, EngineFactory
from charlm.engines import runtime
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


class KerasEngines(EngineFactory):
    """A factory for engines in Keras; TensorFlow starts with the first engine.

    Args:
        on_event: Function that is called with notes.
        workers: The workers that share each batch; None = a single one.

    """

    def __init__(self, on_event: OnEvent, workers: "ConnectedWorkers | None" = None) -> None:
        self._on_event = on_event
        self._workers = workers

    def __call__(self, config: Config, batches: Batches, *, vocabulary_size: int) -> Engine:
        """Return an engine with random weights."""
        if not runtime.start():
            note = Note(
                "training will be slower: this program is already using TensorFlow, which keeps "
                "its number of threads"
            )
            self._on_event(note)
        from charlm.engines.keras_engine import KerasEngine
        from charlm.engines.workers import Conductor

        if self._workers is None:
            return KerasEngine(config, batches, vocabulary_size=vocabulary_size)
        settings = {"config": config, "batches": batches, "vocabulary_size": vocabulary_size}
        return cast(Engine, Conductor(self._workers, **settings))

    def resolve(self, config: Config, *, is_recorded: bool) -> Config:
        """Return the config with the parts, kernel and precision that this machine trains with.

        Each part of a batch has a core and at least MIN_ROWS rows, since products with few rows
        waste most of a core.
        """
        on_event = self._on_event
        workers = 1 if self._workers is None else self._workers.count
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
    count, index = runtime.read_tf_config()
    if count == 1:
        yield KerasEngines(on_event)
        return
    others = counted(count - 1, "other worker")
    on_event(Note(f"TF_CONFIG: this is worker {index}; waiting for {others}"))
    runtime.start_with_others(count, index)
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
    return Note(f"{key}: using {used}, because {problem}{consequence}")


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
