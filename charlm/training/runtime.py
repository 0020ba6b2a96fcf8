"""How TensorFlow starts: quietly, and with its threads laid out for a recurrent network.

The products of one step of a recurrent network are too small to be shared between cores: the cores would wait
for each other at every character. Instead the batch is cut into parts, one a core, and each core runs its part
from the first character of the window to the last. So an operation gets one thread, and as many operations run
at once as there are cores.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def start() -> int:
    """Import TensorFlow, set its threads; returns the number of cores in use.

    Call it before any other module of `charlm.training` is imported, once in a process.
    """
    with _silence():
        import tensorflow as tf
    cores = core_count()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    # Grappler moves the tanh of a step behind the concatenation of the states and keeps the old shape.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    with _silence():
        tf.zeros(1)  # the first operation starts the devices, which report on standard error
    return cores


def usable_precision(wanted: str) -> tuple[str, str | None]:
    """Return the precision to train with, and a line for a person if it is not the wanted one.

    bfloat16 needs a processor that multiplies it; where it is only imitated it is many times slower.
    """
    if wanted != "bfloat16" or multiplies_bfloat16():
        return wanted, None
    return "float32", "training.precision: this processor does not multiply bfloat16; training in float32"


def multiplies_bfloat16() -> bool:
    """Return whether the processor has products of bfloat16."""
    return bool(BFLOAT16_FLAGS & _processor_flags())


def _processor_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hold back what C++ code writes to standard error, unless the block fails: then it is shown.

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
