"""Start TensorFlow and set its threads before any test module imports it; compile the kernel."""

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MakeOnce
from engines.kernels import Kernels, emulation_options

from charlm import hardware
from charlm.engines import compiler, factory
from charlm.engines.compiler import compiler_options
from charlm.engines.kernel import Kernel, load_kernel
from charlm.hardware import find_compiler

factory.start()


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Run functions eagerly where a test needs no graph, because compiling takes longer."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def run_with_path(command: list[str], path: Path) -> None:
    """Run a command with a path as its last argument."""
    subprocess.run([*command, str(path)], check=True)


@pytest.fixture(scope="session")
def kernel_for(make_once: MakeOnce) -> Kernels:
    """Return a function that compiles the kernel for a processor, or with ziglang."""
    if not any(shutil.which(name) for name in hardware.COMPILERS):
        pytest.skip("missing: a C compiler")
    options = ["-std=gnu11", "-O1", "-ffp-contract=fast", "-fPIC", "-shared", "-Wno-psabi"]

    @functools.cache
    def kernel(name: str) -> Kernel:
        if name == "native":
            return load_kernel()
        if name == "ziglang":
            pytest.importorskip("ziglang", reason="missing: ziglang")
            command = [sys.executable, "-m", "ziglang", "cc", *compiler_options()]
        else:
            command = [*find_compiler(), *options, *emulation_options(name)]
        command += [str(compiler.SOURCE), "-lm", "-o"]
        compile_to = functools.partial(run_with_path, command)
        return Kernel(make_once(f"{name}.so", compile_to))

    return kernel
