"""The compiled kernel for this processor and for emulated ones."""

from collections.abc import Callable
from pathlib import Path

from charlm.engines.kernel import Kernel

Kernels = Callable[[str], Kernel]
MACROS: dict[str, list[str]] = {
    "vectors of 4": [],
    "AVX2": ["-D__FMA__"],
    "AVX-512": ["-D__FMA__", "-D__AVX512F__"],
    "bfloat16": ["-D__FMA__", "-D__AVX512F__", "-D__AVX512BF16__"],
    "tiles": ["-D__FMA__", "-D__AVX512F__", "-D__AVX512BF16__", "-D__AMX_BF16__"],
    "refused tiles": [
        "-D__FMA__",
        "-D__AVX512F__",
        "-D__AVX512BF16__",
        "-D__AMX_BF16__",
        "-DEMULATED_REFUSAL",  # Linux does not let the process use tiles
    ],
}
"""Macros of processors whose instructions emulated/immintrin.h has in C."""


def emulation_options(processor: str) -> list[str]:
    """Return the options of a C compiler for an emulated processor."""
    return ["-I", str(Path(__file__).with_name("emulated")), *MACROS[processor]]
