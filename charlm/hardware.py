"""Cores, memory, processor, C compiler and package versions of this machine, without TensorFlow."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from charlm.errors import CharlmError

CPUINFO = Path("/proc/cpuinfo")
CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
"""File with the memory limit of a container on Linux: bytes, or the word max."""
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File with the CPU time of a container on Linux: time and period in microseconds, or max."""
BFLOAT16 = "avx512_bf16"
"""Flag of processors that multiply bfloat16 vectors."""
TILES = "amx_bf16"
"""Flag of processors that multiply bfloat16 tiles."""
COMPILERS = ("cc", "gcc", "clang")
"""C compilers to look for if $CC is not set."""
COMPILER_PACKAGE = "ziglang"
"""Python package with a C compiler, used if $CC is not set and no compiler is on the PATH."""


def versions(*packages: str) -> dict[str, str | None]:
    """Return the installed version of each package without importing it; None = not installed."""
    installed: dict[str, str | None] = dict.fromkeys(packages)
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


def core_count() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # no container, or no limit
        time, period = map(int, CPU_QUOTA.read_text(encoding="ascii").split())
        return max(1, min(cores, -(-time // period)))
    return cores


def processor_name() -> str:
    """Return the model name of the processor, or its architecture if the name is unknown."""
    names = _values("model name")
    return names[0] if names else platform.processor() or platform.machine()


def processor_flags() -> tuple[str, ...]:
    """Return the instruction set flags of the processor, or its name if the flags are unknown."""
    flags = _values("flags", "Features")
    return tuple(sorted({*flags[0].split()})) if flags else (processor_name(),)


def multiplies_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16 products."""
    return bool({BFLOAT16, TILES} & {*processor_flags()})


@dataclass(frozen=True)
class FastPrecision:
    """Number format of the fastest matrix products."""

    name: Literal["float32", "bfloat16"]
    reason: str
    """Reason, as a clause for the user."""


def fastest_precision(*, has_bfloat16: bool, has_tiles: bool) -> FastPrecision:
    """Return the number format in which a compiled kernel multiplies matrices fastest.

    Measured on two cores, float32 and bfloat16: AMD Zen 5 with avx512_bf16, 525 and 1,050 GFLOP/s;
    Intel with avx512_bf16 but without tiles, 411 and 195 GFLOP/s.

    Args:
        has_bfloat16: Whether the kernel was compiled with instructions for bfloat16.
        has_tiles: Whether it may also use tiles, which Linux can refuse.

    """
    if not has_bfloat16:
        return FastPrecision("float32", "the compiled kernel has no instructions for bfloat16")
    if has_tiles:
        return FastPrecision("bfloat16", f"this processor multiplies it in tiles ({TILES})")
    if "AuthenticAMD" in _values("vendor_id"):
        reason = f"this AMD processor multiplies it twice as fast as float32 ({BFLOAT16})"
        return FastPrecision("bfloat16", reason)
    reason = "this processor multiplies bfloat16 without tiles slower than float32"
    return FastPrecision("float32", reason)


def find_compiler() -> list[str]:
    """Return the command of the C compiler: $CC, cc, gcc, clang, or the Python package ziglang.

    $CC may contain arguments, but no quotes.

    Raises:
        CharlmError: There is no compiler; the message explains how to get one.

    """
    named = os.environ.get("CC", "").split()
    for command in [named] if named else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    if named:
        looked = f"CC={os.environ['CC']}"
        advice = "set CC to one that exists, or unset it"
    elif importlib.util.find_spec(COMPILER_PACKAGE) is not None:
        return [sys.executable, "-m", COMPILER_PACKAGE, "cc"]
    else:
        looked = ", ".join(COMPILERS)
        advice = f"pip install {COMPILER_PACKAGE} brings one"
    raise CharlmError(
        f"no C compiler (looked for {looked}); {advice}; with a compiler, training is 2 to 6 times "
        f"as fast"
    )


def compiler_name(command: Sequence[str]) -> str:
    """Return the name of a compiler, for messages."""
    return COMPILER_PACKAGE if COMPILER_PACKAGE in command else command[0]


def memory_bytes() -> int | None:
    """Return the memory of the machine or of its container, in bytes; None = unknown."""
    limits = []
    with contextlib.suppress(OSError, ValueError):  # unknown
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit
        limits.append(int(CONTROL_GROUP.read_text(encoding="ascii")))
    return min((limit for limit in limits if limit > 0), default=None)


def peak_memory_bytes() -> int:
    """Return the peak memory of this process, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # only macOS counts in bytes


def _values(*keys: str) -> list[str]:
    """Return all values of the given keys in CPUINFO; none if the file cannot be read."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for key, _, value in pairs if key.strip() in keys]
