"""The machine: cores, memory, processor, C compiler, and the versions of the packages that speed depends on.

It is examined without TensorFlow.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import resource
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from charlm import __version__
from charlm.errors import CharlmError

CPUINFO = Path("/proc/cpuinfo")
CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
"""The memory limit of a container on Linux: bytes, or the word max."""
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""The processor time of a container on Linux: microseconds or the word max, in a period of so many microseconds."""
BFLOAT16, TILES = "avx512_bf16", "amx_bf16"
"""The flags of processors that multiply bfloat16: in vectors, and in tiles."""
ISAS_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of ONEDNN_MAX_CPU_ISA, which holds TensorFlow's products to older instructions than the processor has."""
PRODUCT_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OMP_NUM_THREADS",
)
"""What the libraries that NumPy multiplies with read when they are loaded."""
HAS_TENSORFLOW = sys.version_info < (3, 14) and (sys.platform, platform.machine()) != (
    "darwin",
    "x86_64",
)
"""Whether TensorFlow has a wheel for this machine and this Python."""
DISTRIBUTIONS = {"yaml": "pyyaml", "google": "protobuf", "PIL": "pillow", "absl": "absl-py"}
"""The name under which pip installs a module, if it has another name."""
NEEDED_TOGETHER = (("tensorflow", "tensorboard"), ("starlette", "uvicorn"))
"""Optional packages of training, and of `charlm serve`."""
PACKAGES = ("numpy", "tensorflow", "keras", "torch")
COMPILERS = ("cc", "gcc", "clang")
"""The C compilers that are looked for, if $CC names none."""
COMPILER_PACKAGE = "ziglang"
"""The Python package with a C compiler, used if $CC is not set and no compiler is on the PATH."""
COMPILER_FOLDERS = ("TMPDIR", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
"""Environment variables for the folder of a compiler's temporary files, and for the caches of ziglang."""


def describe_machine() -> dict[str, str | int | None]:
    """Return what speed depends on besides charlm: processor, usable cores, versions (None = not installed)."""
    return {
        "cpu": processor_name(),
        "cores": core_count(),
        "python": platform.python_version(),
        "charlm": __version__,
        **versions(*PACKAGES),
    }


def versions(*packages: str) -> dict[str, str | None]:
    """Return the installed version of each package, without importing it; None = not installed."""
    return {package: _version(package) for package in packages}


def install_command(module: str) -> str:
    """Return the command that installs a missing module and the packages that it is used with, in any folder."""
    package = DISTRIBUTIONS.get(module, module)
    group = next((group for group in NEEDED_TOGETHER if package in group), (package,))
    wanted = [name for name in group if name != "tensorflow" or HAS_TENSORFLOW]
    missing = [name for name, version in versions(*wanted).items() if version is None]
    return f"pip install {' '.join(missing or [package])}"


def core_count(*, quota: Path = CPU_QUOTA) -> int:
    """Return the number of cores that this process may use: those of its affinity, or the share of its container.

    Args:
        quota: The file that holds the processor time of the container.

    """
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # no container, or no limit
        time, period = map(int, quota.read_text(encoding="ascii").split())
        return max(1, min(usable, -(-time // period)))
    return usable


def limit_product_threads(count: int) -> None:
    """Let NumPy's products of matrices share a number of cores, 1 or more, unless the environment says otherwise.

    It has no effect once NumPy is imported.
    """
    for name in PRODUCT_THREADS:
        os.environ.setdefault(name, str(count))


def processor_name(*, cpuinfo: Path = CPUINFO) -> str:
    """Return the model name of the processor in `cpuinfo`, or what Python knows of it if there is none."""
    models = [value for key, value in _read_pairs(cpuinfo) if key == "model name"]
    return next(iter(models), platform.processor() or platform.machine())


def processor_flags(*, cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Return what decides about the instructions of the processor: the flags in `cpuinfo`, or its name."""
    flags = [value for key, value in _read_pairs(cpuinfo) if key in {"flags", "Features"}]
    return tuple(sorted({*flags[0].split()})) if flags else (processor_name(cpuinfo=cpuinfo),)


def multiplies_bfloat16(
    *, cpuinfo: Path = CPUINFO, environ: Mapping[str, str] = os.environ
) -> bool:
    """Return whether the processor has instructions that multiply bfloat16; without them, that is many times slower.

    Args:
        cpuinfo: The file that describes the processor.
        environ: The environment; ONEDNN_MAX_CPU_ISA can rule these instructions out.

    """
    if environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in ISAS_WITHOUT_BFLOAT16:
        return False
    return bool({BFLOAT16, TILES} & {*processor_flags(cpuinfo=cpuinfo)})


@dataclass(frozen=True)
class FastPrecision:
    """The number format in which a processor multiplies matrices faster."""

    name: Literal["float32", "bfloat16"]
    reason: str
    """Why, as a clause for the user."""


def fastest_precision(
    *, cpuinfo: Path = CPUINFO, environ: Mapping[str, str] = os.environ
) -> FastPrecision:
    """Return the number format in which this processor multiplies faster; arguments as `multiplies_bfloat16`.

    Measured on two cores, in GFLOP/s of float32 and bfloat16: AMD Zen 5 with avx512_bf16 525 and 1,050; Intel with
    avx512_bf16 and without tiles 411 and 195.
    """
    if not multiplies_bfloat16(cpuinfo=cpuinfo, environ=environ):
        return FastPrecision("float32", "this processor has no instructions that multiply bfloat16")
    if TILES in processor_flags(cpuinfo=cpuinfo):
        return FastPrecision("bfloat16", f"this processor multiplies it in tiles ({TILES})")
    vendors = [value for key, value in _read_pairs(cpuinfo) if key == "vendor_id"]
    if "AuthenticAMD" in vendors:
        return FastPrecision(
            "bfloat16", f"this AMD processor multiplies it twice as fast as float32 ({BFLOAT16})"
        )
    return FastPrecision(
        "float32", f"this processor multiplies bfloat16 ({BFLOAT16}) slower than float32"
    )


def find_compiler(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command of the C compiler: $CC, cc, gcc, clang, or the one in the Python package ziglang.

    Args:
        environ: The environment; PATH says where compilers are looked for, CC may name one, with arguments.

    Raises:
        CharlmError: no compiler was found; the message says how to get one.

    """
    try:
        named = shlex.split(environ.get("CC", ""))
    except ValueError:
        named = []
    for command in [named] if named else [[name] for name in COMPILERS]:
        if shutil.which(command[0], path=environ.get("PATH")):
            return command
    if named:
        raise CharlmError(
            f"no C compiler (looked for CC={environ['CC']}); set CC to one that exists, or unset it"
        )
    if importlib.util.find_spec(COMPILER_PACKAGE) is not None:
        return [sys.executable, "-m", COMPILER_PACKAGE, "cc"]
    looked = ", ".join(COMPILERS)
    raise CharlmError(
        f"no C compiler (looked for {looked}); pip install {COMPILER_PACKAGE} brings one"
    )


def compiler_name(command: Sequence[str]) -> str:
    """Return the name of a compiler for the user."""
    return COMPILER_PACKAGE if COMPILER_PACKAGE in command else command[0]


def compiler_environment(folder: Path) -> dict[str, str]:
    """Return the environment in which a compiler writes its temporary files and caches to a folder."""
    return {**os.environ, **dict.fromkeys(COMPILER_FOLDERS, str(folder))}


def memory_bytes(
    *, control_group: Path = CONTROL_GROUP, sysconf: Callable[[str], int] = os.sysconf
) -> int | None:
    """Return the memory that this process may use, in bytes: that of the machine or of its container; None = unknown.

    Args:
        control_group: The file that holds the limit of the container.
        sysconf: Returns values of the operating system by name, as `os.sysconf` does.

    """
    limits = [0]
    with contextlib.suppress(OSError, ValueError):  # it does not tell
        limits.append(sysconf("SC_PHYS_PAGES") * sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit
        limits.append(int(control_group.read_text(encoding="ascii")))
    return min((limit for limit in limits if limit > 0), default=None)


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held at once so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # only macOS counts in bytes


def _read_pairs(cpuinfo: Path) -> list[tuple[str, str]]:
    """Return the key and value of each line of `cpuinfo`; none if it cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [
        (key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
