"""kernel.c: the recurrence of a layer over a whole window, called from NumPy, and whether a training uses it.

Axes: T time, R rows, H units.
"""

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.engine.compiler import open_library
from charlm.errors import CharlmError
from charlm.storage.files import file_sha256

Array = NDArray[Any]

ACTIVATIONS = ("tanh", "relu", "sigmoid", "linear")
"""The activations that the kernel computes, in the order of its numbers."""


class _Layer(ctypes.Structure):
    """The struct of this name in kernel.c."""

    _fields_: ClassVar = [
        *((name, ctypes.c_long) for name in ("time", "rows", "units")),
        *((name, ctypes.c_int) for name in ("activation", "bfloat16")),
        *(
            (name, ctypes.c_void_p)
            for name in ("matrix", "mask", "ids", "table", "states", "d_state", "given", "d_other", "out")
        ),
    ]


class Kernel:
    """The compiled library. A call releases the interpreter's lock, so that the parts of a batch run side by side.

    Arrays are float32 unless something else is said, in C order. "Rounded" are those that are bfloat16 if `bfloat16`.

    Args:
        path: The library.

    Raises:
        OSError: it cannot be loaded.
        ValueError: it is another library.

    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(os.fspath(path))
        self.has_bfloat16 = bool(ctypes.c_int.in_dll(self._library, "has_bfloat16").value)
        """Whether it was compiled for a processor that multiplies bfloat16."""
        self.sha256 = file_sha256(path)
        """Of the library: another one may compute other bits."""

    def forward(
        self,
        *,
        projection: Array | None,
        ids: Array | None,
        table: Array,
        matrix: Array,
        state: Array,
        mask: Array | None,
        activation: str,
        outputs: Array | None,
    ) -> Array:
        """Compute h_t = f(projection_t + table[ids_t] + (h_{t-1} * mask) V) at every time.

        Args:
            projection: [T, R, H], rounded, or None.
            ids: int32 [T, R], each below the height of the table; None = 0 everywhere.
            table: [ids, H].
            matrix: V, [H, H].
            state: h_0, [R, H].
            mask: [R, H], or None.
            activation: f, one of ACTIVATIONS.
            outputs: With bfloat16, [T + 1, R, H] of it, which takes h_0 to h_T; None = in float32.

        Returns:
            h_0 to h_T, [T + 1, R, H].

        """
        time = len(projection) if projection is not None else len(ids) if ids is not None else 0
        states = np.empty((time + 1, *state.shape), np.float32)
        states[0] = state
        self._run(
            *(False, activation, outputs is not None),
            {"matrix": matrix, "mask": mask, "ids": ids, "table": table, "states": states, "given": projection}
            | {"out": outputs},
        )
        return states

    def backward(
        self,
        *,
        d_outputs: Array,
        d_others: Array,
        ids: Array | None,
        rows: int,
        matrix: Array,
        states: Array,
        mask: Array | None,
        activation: str,
        bfloat16: bool,
    ) -> tuple[Array, Array, Array]:
        """Compute the gradients of the loss L.

        Args:
            d_outputs: dL/dh_1 to dL/dh_T without what passes through later times, [T, R, H], rounded; the kernel adds
                `d_others` to it.
            d_others: The same by way of another reader of h.
            ids: As for `forward`.
            rows: The height of the table.
            matrix: As for `forward`.
            states: What `forward` has returned.
            mask: As for `forward`.
            activation: As for `forward`.
            bfloat16: Whether the factors of products are rounded to bfloat16.

        Returns:
            dL/d projection [T, R, H], rounded; dL/d table [rows, H]; and dL/dh_0 [R, H].

        """
        d_arguments = np.empty_like(d_outputs)
        d_state, d_table = np.empty(states.shape[1:], np.float32), np.zeros((rows, states.shape[2]), np.float32)
        self._run(
            *(True, activation, bfloat16),
            {"matrix": matrix, "mask": mask, "ids": ids, "table": d_table, "states": states, "given": d_outputs}
            | {"d_other": d_others, "out": d_arguments, "d_state": d_state},
        )
        return d_arguments, d_table, d_state

    def _run(self, backward: bool, activation: str, bfloat16: bool, arrays: Mapping[str, Array | None]) -> None:
        states = arrays["states"]
        assert states is not None
        if bfloat16 and not self.has_bfloat16:
            raise ValueError("this library was compiled without bfloat16, and would write past the end of the arrays")
        assert all(array is None or array.flags.c_contiguous for array in arrays.values())
        pointers = {name: array.ctypes.data for name, array in arrays.items() if array is not None}
        sizes = (len(states) - 1, *states.shape[1:], ACTIVATIONS.index(activation), bfloat16)
        if self._library.run(ctypes.byref(_Layer(*sizes, **pointers)), backward):
            raise MemoryError("there is not enough memory for the packed weights of a layer")


LOADED: list[Kernel] = []
"""The kernel of this process, once it is loaded."""


def load_kernel(say: Callable[[str], None] = lambda _: None) -> Kernel:
    """Return the kernel of this process; arguments and errors are those of `charlm.engine.compiler.open_library`."""
    if not LOADED:
        LOADED.append(open_library(Kernel, say=say))
    return LOADED[0]


def settle_kernel(config: Config, *, say: Callable[[str], None], is_recorded: bool = False) -> Config:
    """Return the config with what computes the recurrence on this machine.

    Args:
        config: Every setting of a run.
        say: Takes a line for the user: that the kernel is compiled, or why there is none.
        is_recorded: Whether the config is that of a run which has begun: then TensorFlow takes over if there is no
            kernel here, with a line that says so.

    Raises:
        CharlmError: the config asks for the kernel, which this machine or activation does not have.

    """
    settings, activation = config.training, config.model.rnn.activation
    if settings.kernel == "tensorflow":
        return config
    problem, is_missing = None, False
    if activation not in ACTIVATIONS:
        problem = f"the compiled kernel lacks {activation}"
    else:
        try:
            kernel = load_kernel(say)
            if settings.precision == "bfloat16" and not kernel.has_bfloat16:
                raise CharlmError("it was compiled without bfloat16, which this processor has; see $CHARLM_CFLAGS")
        except CharlmError as error:
            problem, is_missing = str(error), True
    if problem is not None and settings.kernel == "compiled":
        if not is_recorded:
            raise CharlmError(f"training.kernel: found compiled; must be tensorflow: {problem}")
        say(f"kernel: continuing in TensorFlow, so results will not be bit-identical: {problem}")
    elif is_missing:
        say(f"kernel: TensorFlow's: {problem}")
    used = "compiled" if problem is None else "tensorflow"
    return config.model_copy(update={"training": settings.model_copy(update={"kernel": used})})
