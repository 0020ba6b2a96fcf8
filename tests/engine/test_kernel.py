"""kernel.c against float64 NumPy, on this processor and on emulated ones, and how it is compiled, kept and loaded.

Axes: T time, R rows, H units.
"""

import functools
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import ml_dtypes
import numpy as np
import pytest
from arrays import check_close
from numpy.typing import NDArray

from charlm.config.schema import Config, TrainingConfig
from charlm.engine import compiler
from charlm.engine import kernel as module
from charlm.engine.compiler import cache_folder, compiler_options, describe_kernel
from charlm.engine.kernel import ACTIVATIONS, Kernel, load_kernel, settle_kernel
from charlm.errors import CharlmError

SHAPES = [(1, 1, 1), (5, 1, 7), (3, 7, 16), (4, 13, 333), (2, 33, 65), (3, 40, 96)]
"""T, R, H: also those that are no multiple of a block, a panel or a tile."""
FUNCTIONS: dict[str, Any] = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0), "linear": lambda a: a} | {
    "sigmoid": lambda a: 1 / (1 + np.exp(-a))
}
SLOPES: dict[str, Any] = {"tanh": lambda h: 1 - h * h, "relu": lambda h: 1.0 * (h > 0), "linear": np.ones_like} | {
    "sigmoid": lambda h: h * (1 - h)
}
IDS = 9
EMULATED = {
    name: ["-I", str(Path(__file__).with_name("emulated")), *(f"-D{macro}" for macro in macros.split())]
    for name, macros in {
        "vectors of 4": "",
        "AVX2": "__FMA__",
        "AVX-512": "__FMA__ __AVX512F__",
        "bfloat16": "__FMA__ __AVX512F__ __AVX512BF16__",
        "tiles": "__FMA__ __AVX512F__ __AVX512BF16__ __AMX_BF16__",
    }.items()
}
"""Options of the compiler for processors that need not be at hand: emulated/immintrin.h has their instructions in C."""
WITH_BFLOAT16 = ["native", "bfloat16", "tiles"]
PRECISIONS = [*((name, False) for name in ("native", *EMULATED)), *((name, True) for name in WITH_BFLOAT16)]
CASES = [
    pytest.param(
        *(processor, shape, activation, has_ids, has_mask),
        marks=[]
        if processor == "native" or (activation, has_ids, has_mask) == ("tanh", True, True)
        else pytest.mark.slow,
        id="-".join(map(str, (processor, *shape, activation, has_ids, has_mask))),
    )
    for processor, shape, activation, has_ids, has_mask in itertools.product(
        ["native", *EMULATED], SHAPES, ACTIVATIONS, [False, True], [False, True]
    )
]
"""All on the processor at hand; on each emulated one, a case of each shape is not slow."""


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    if not any(shutil.which(name) for name in compiler.COMPILERS):
        pytest.skip("missing: a C compiler")
    return load_kernel()


@pytest.fixture(scope="session")
def emulate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kernel]:
    """Return a function that returns the kernel of an emulated processor, which it compiles at the first call."""
    options = ["-std=gnu11", "-O1", "-ffp-contract=fast", "-fPIC", "-shared", "-Wno-psabi"]

    @functools.cache
    def compiled(processor: str) -> Kernel:
        library = tmp_path_factory.mktemp("emulated") / "kernel.so"
        command = [*compiler.find_compiler(), *options, *EMULATED[processor]]
        subprocess.run([*command, "-o", library, compiler.SOURCE, "-lm"], check=True)
        return Kernel(library)

    return compiled


@pytest.fixture
def any_kernel(request: pytest.FixtureRequest, kernel: Kernel, emulate: Callable[[str], Kernel]) -> Kernel:
    """Return the kernel of the processor at hand, "native", or of an emulated one."""
    return kernel if request.param == "native" else emulate(request.param)


def rounded(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return an array rounded to bfloat16."""
    return array.astype(ml_dtypes.bfloat16).astype(np.float64)


@dataclass
class Window:
    """The arguments of a call, and the same recurrence in float64."""

    shape: tuple[int, int, int]
    activation: str = "tanh"
    has_ids: bool = True
    has_mask: bool = False

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        time, rows, units = self.shape

        def normal(*shape: int) -> NDArray[Any]:
            return rng.standard_normal(shape).astype(np.float32)

        self.matrix = normal(units, units) * np.float32(0.7 / units**0.5)
        self.state, self.d_outputs = normal(rows, units) / 2, normal(*self.shape)
        self.projection = None if self.has_ids and not self.has_mask else normal(*self.shape)
        self.ids = rng.integers(0, IDS, (time, rows), np.int32) if self.has_ids else None
        self.table = normal(IDS if self.has_ids else 1, units)
        kept = rng.random((rows, units)) > 0.3
        self.mask = (kept / 0.7).astype(np.float32) if self.has_mask else None

    @property
    def _places(self) -> NDArray[Any]:
        return np.zeros(self.shape[:2], int) if self.ids is None else self.ids

    def reference(self) -> NDArray[np.float64]:
        states, mask = [self.state.astype(np.float64)], 1 if self.mask is None else self.mask
        for time, ids in enumerate(self._places):
            given = self.table[ids] + (0 if self.projection is None else self.projection[time])
            states.append(FUNCTIONS[self.activation](given + (states[-1] * mask) @ self.matrix))
        return np.array(states)

    def reference_gradients(self, states: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
        mask, found = 1 if self.mask is None else self.mask, []
        d_state = np.zeros(states.shape[1:])
        for state, d_output in zip(states[:0:-1].astype(np.float64), self.d_outputs[::-1], strict=True):
            found.append(SLOPES[self.activation](state) * (d_output + d_state))
            d_state = mask * (found[-1] @ self.matrix.T.astype(np.float64))
        d_arguments, d_table = np.array(found[::-1]), np.zeros(self.table.shape)
        np.add.at(d_table, self._places.ravel(), d_arguments.reshape(-1, self.shape[2]))
        return d_arguments, d_table, d_state

    def forward(self, kernel: Kernel, *, outputs: NDArray[Any] | None = None) -> NDArray[Any]:
        projection = self.projection
        if projection is not None and outputs is not None:
            projection = projection.astype(outputs.dtype)
        arrays: dict[str, Any] = {"projection": projection, "ids": self.ids, "table": self.table, "matrix": self.matrix}
        arrays |= {"state": self.state, "mask": self.mask}
        return kernel.forward(**arrays, activation=self.activation, outputs=outputs)

    def backward(self, kernel: Kernel, states: NDArray[Any], *, bfloat16: bool = False) -> tuple[NDArray[Any], ...]:
        dtype = ml_dtypes.bfloat16 if bfloat16 else np.float32
        d_outputs, d_others = ((self.d_outputs * np.float32(share)).astype(dtype) for share in (0.75, 0.25))
        arrays: dict[str, Any] = {"ids": self.ids, "matrix": self.matrix, "states": states, "mask": self.mask}
        options: dict[str, Any] = {"rows": len(self.table), "activation": self.activation, "bfloat16": bfloat16}
        return kernel.backward(d_outputs=d_outputs, d_others=d_others, **arrays, **options)


@pytest.mark.parametrize(("any_kernel", "shape", "activation", "has_ids", "has_mask"), CASES, indirect=["any_kernel"])
def test_states_and_gradients_are_those_of_float64(
    any_kernel: Kernel, shape: tuple[int, int, int], activation: str, has_ids: bool, has_mask: bool
) -> None:
    window = Window(shape, activation, has_ids, has_mask)
    states = window.forward(any_kernel)
    np.testing.assert_allclose(states, window.reference(), atol=1e-5, rtol=1e-5)
    check_close(window.backward(any_kernel, states), window.reference_gradients(states), atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("any_kernel", WITH_BFLOAT16, indirect=True)
def test_bfloat16_changes_states_and_gradients_only_by_rounding(
    shape: tuple[int, int, int], any_kernel: Kernel
) -> None:
    if not any_kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    window = Window(shape, has_mask=True)
    outputs = np.empty((shape[0] + 1, *shape[1:]), ml_dtypes.bfloat16)
    states = window.forward(any_kernel, outputs=outputs)
    np.testing.assert_allclose(states, window.reference(), atol=0.03)
    np.testing.assert_array_equal(outputs, states.astype(ml_dtypes.bfloat16))
    found = [gradient.astype(np.float32) for gradient in window.backward(any_kernel, states, bfloat16=True)]
    check_close(found, window.reference_gradients(states), of_peak=0.02)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("any_kernel", WITH_BFLOAT16, indirect=True)
def test_bfloat16_rounds_factors_and_arguments_to_nearest_and_nothing_else(
    shape: tuple[int, int, int], any_kernel: Kernel
) -> None:
    """Each time is computed from what the kernel returned for the one before, so that no rounding adds to another."""
    if not any_kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    window, close = Window(shape, has_mask=True), 2e-5
    bits = window.matrix.view(np.uint32)
    bits[:, ::2] = bits[:, ::2] & 0xFFFF0000 | 0x8000  # between two bfloat16: the even one is nearest
    assert window.ids is not None
    assert window.mask is not None
    assert window.projection is not None
    states = window.forward(any_kernel, outputs=np.empty((shape[0] + 1, *shape[1:]), ml_dtypes.bfloat16))
    matrix = rounded(window.matrix)
    arguments = window.table[window.ids] + rounded(window.projection) + rounded(states[:-1] * window.mask) @ matrix
    np.testing.assert_allclose(states[1:], np.tanh(arguments), atol=close, rtol=close)

    d_arguments, d_table, d_state = window.backward(any_kernel, states, bfloat16=True)
    d_states = window.mask * (d_arguments.astype(np.float64) @ matrix.T)  # those of one time before
    d_outputs = rounded(window.d_outputs * np.float32(0.75)) + rounded(window.d_outputs * np.float32(0.25))
    expected = SLOPES["tanh"](states[1:].astype(np.float64)) * d_outputs
    expected[:-1] += SLOPES["tanh"](states[1:-1].astype(np.float64)) * d_states[1:]
    expected_table = np.zeros(d_table.shape)
    np.add.at(expected_table, window.ids, expected)
    np.testing.assert_allclose(d_arguments.astype(np.float64), expected, atol=close, rtol=2**-8 + close)
    np.testing.assert_allclose(d_table, expected_table, atol=close, rtol=close)
    np.testing.assert_allclose(d_state, d_states[0], atol=close, rtol=close)


@pytest.mark.parametrize(("any_kernel", "bfloat16"), PRECISIONS, indirect=["any_kernel"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_state_that_is_not_a_number_stays_so(activation: str, bfloat16: bool, any_kernel: Kernel) -> None:
    if bfloat16 and not any_kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    window = Window((3, 2, 5), activation)
    window.state[1, 2] = np.nan
    states = window.forward(any_kernel, outputs=np.empty((4, 2, 5), ml_dtypes.bfloat16) if bfloat16 else None)
    assert np.isnan(states[1:, 1]).all()
    assert not np.isnan(states[:, 0]).any()


def test_a_library_without_bfloat16_refuses_arrays_of_it(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "has_bfloat16", False)
    with pytest.raises(ValueError, match="compiled without bfloat16"):
        Window((2, 3, 8)).forward(kernel, outputs=np.empty((3, 3, 8), ml_dtypes.bfloat16))


@pytest.mark.parametrize(("any_kernel", "bfloat16"), PRECISIONS, indirect=["any_kernel"])
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(bfloat16: bool, any_kernel: Kernel) -> None:
    if bfloat16 and not any_kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    window = Window((3, 40, 130), has_ids=False)

    def states(rows: slice) -> NDArray[Any]:
        part = Window((3, 40, 130), has_ids=False)
        assert window.projection is not None
        part.projection, part.state = np.ascontiguousarray(window.projection[:, rows]), window.state[rows]
        shape = (4, len(part.state), 130)
        return part.forward(any_kernel, outputs=np.empty(shape, ml_dtypes.bfloat16) if bfloat16 else None)

    everything = states(slice(None))
    for rows in (slice(0, 1), slice(3, 20), slice(7, 40)):
        np.testing.assert_array_equal(states(rows), everything[:, rows])


TILES = """
#include <immintrin.h>

int main(int count, char **words) {
    const unsigned char config[64] = {1, [16 + 2 * 7] = 64, [48 + 7] = 16};
    for (const char *step = words[count - 1]; *step; step++) {
        if (*step == 'a') syscall(SYS_arch_prctl, 0x1023, 18);
        if (*step == 'c') _tile_loadconfig(config);
        if (*step == 'z') _tile_zero(7);
        if (*step == 'r') _tile_release();
    }
}
"""


@pytest.mark.parametrize(("steps", "is_allowed"), [("acz", True), ("cz", False), ("az", False), ("acrz", False)])
def test_emulated_tiles_are_asked_for_and_configured_before_they_are_used(
    steps: str, is_allowed: bool, tmp_path: Path, kernel: Kernel
) -> None:
    (tmp_path / "tiles.c").write_text(TILES)
    command = [*compiler.find_compiler(), "-Wno-psabi", *EMULATED["tiles"]]
    subprocess.run([*command, "-o", tmp_path / "tiles", tmp_path / "tiles.c", "-lm"], check=True)
    done = subprocess.run([tmp_path / "tiles", steps], check=False)
    assert done.returncode == (0 if is_allowed else -signal.SIGABRT)


def write_script(path: Path, commands: str) -> Path:
    """Write a compiler, whose last two arguments are the library that it writes and the source."""
    path.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n{commands}\n')
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def quick(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a compiler that copies a library, which was compiled once."""
    folder = tmp_path_factory.mktemp("quick")
    command = [*compiler.find_compiler(), *compiler_options(), "-o"]
    subprocess.run([*command, folder / "kernel.so", compiler.SOURCE], check=True)
    return write_script(folder / "compiler", f'cp {folder}/kernel.so "$2"')


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick: Path) -> Path:
    """Return the cache folder, which is not there yet, of a process that has not loaded the kernel."""
    monkeypatch.setenv("CC", str(quick))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "LOADED", [])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "cache" / "charlm"


def load(said: list[str]) -> str:
    """Return what computes the recurrence of a config that leaves it open; `said` takes the lines for the user."""
    module.LOADED.clear()
    return settle_kernel(Config(), say=said.append).training.kernel


def test_the_kernel_is_compiled_once_into_a_folder_of_the_user(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC")
    said: list[str] = []
    assert load(said) == load(said) == "compiled"
    assert len([*cache.glob("*.so")]) == len(said) == 1
    assert "compiles it for this processor; after 20 s, TensorFlow's is used instead" in said[0]
    assert [*tmp_path.glob(".charlm-*")] == []
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_library_is_of_one_source_compiler_processor_and_set_of_options(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, source = write_script(tmp_path / "compiler", ': > "$2"'), tmp_path / "kernel.c"
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(compiler, "SOURCE", source)
    for change in (
        lambda: source.write_text("1"),
        lambda: source.write_text("2"),
        lambda: monkeypatch.setenv("CHARLM_CFLAGS", "-O1"),
        lambda: monkeypatch.setattr(compiler, "processor_flags", lambda: "another"),
        lambda: os.utime(script, (1, 1)),
    ):
        change()
        said: list[str] = []
        for _ in range(2):
            compiler.open_library(str, say=said.append)
        assert len(said) == 1


@pytest.mark.parametrize("damage", ["cut", "zeros", "another library", "no library", "no digest"])
def test_a_kept_library_that_is_damaged_is_compiled_again_and_not_loaded(damage: str, cache: Path) -> None:
    said: list[str] = []
    load(said)
    (library,) = cache.glob("*.so")
    whole = library.read_bytes()
    if damage == "no digest":
        library.with_suffix(".sha256").unlink()
    else:
        damaged = {
            "cut": whole[:-3000],
            "zeros": whole[:-3000] + bytes(3000),
            "another library": whole.replace(b"has_bfloat16", b"has_bfloat17"),
            "no library": b"no library",
        }
        library.write_bytes(damaged[damage])
    assert load(said) == "compiled"
    assert len(said) == 2
    assert library.read_bytes() == whole


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("link", "CACHE is a link"),
        ("open to others", "CACHE can be written by others"),
        ("file", "CACHE: File exists"),
        ("full disk", "kernel.so: cannot be written: No space left on device"),
        ("no home", "Could not determine home directory."),
    ],
)
def test_a_library_that_cannot_be_kept_or_trusted_is_compiled_for_the_process_alone(
    case: str, problem: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir()
    if case == "link":
        (tmp_path / "elsewhere").mkdir()
        cache.symlink_to(tmp_path / "elsewhere")
    elif case == "open to others":
        cache.mkdir()
        cache.chmod(0o777)
    elif case == "file":
        cache.write_text("")
    elif case == "full disk":
        monkeypatch.setattr(compiler, "write_file", Mock(side_effect=CharlmError(problem)))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError(problem)))
    said: list[str] = []
    assert load(said) == "compiled"
    assert said[1] == f"kernel: compiled for this process alone: {problem.replace('CACHE', str(cache))}"
    assert not [*tmp_path.rglob("*.so")]


def test_options_that_no_shell_would_take_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_CFLAGS", "-DX='a b' -O2")
    assert compiler_options()[-2:] == ["-DX=a b", "-O2"]
    monkeypatch.setenv("CHARLM_CFLAGS", "'")
    with pytest.raises(CharlmError, match=r"^CHARLM_CFLAGS: No closing quotation"):
        compiler_options()


def test_a_folder_that_is_not_absolute_is_no_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder({"XDG_CACHE_HOME": "caches"}) == (tmp_path / ".cache" / "charlm", None)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("missing", "no C compiler (looked for CC=missing); with one, training is up to 1.6 times as fast"),
        ("false", "false: cannot compile kernel.c: exit code 1"),
    ],
)
def test_without_a_compiler_tensorflow_computes_it_and_the_user_is_told(
    command: str, reason: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", command)
    said: list[str] = []
    assert load(said) == "tensorflow"
    assert said[-1] == f"kernel: TensorFlow's: {reason}"
    wanted = Config(training=TrainingConfig(epochs=1, kernel="compiled"))
    with pytest.raises(CharlmError, match=re.escape(f"training.kernel: found compiled; must be tensorflow: {reason}")):
        settle_kernel(wanted, say=said.append)
    assert settle_kernel(wanted, say=said.append, is_recorded=True).training.kernel == "tensorflow"
    assert said[-1] == f"kernel: continuing in TensorFlow, so results will not be bit-identical: {reason}"


def test_a_library_that_hides_its_functions_is_not_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.setenv("CHARLM_CFLAGS", "-O0 -fvisibility=hidden")
    said: list[str] = []
    assert load(said) == "tensorflow"
    assert "cannot be loaded: " in said[-1]
    assert not [*cache.glob("*.so")]


def test_a_compiler_that_hangs_is_ended_with_what_it_has_started(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = write_script(tmp_path / "hangs", f"sleep 60 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setenv("CC", str(compiles))
    monkeypatch.setattr(compiler, "COMPILE_SECONDS", 0.5)
    said: list[str] = []
    assert load(said) == "tensorflow"
    assert said[1].endswith(f"{compiles}: cannot compile kernel.c: no result after 0.5 s")
    child = Path("/proc") / (tmp_path / "child").read_text().strip()
    assert not child.exists() or " Z " in (child / "stat").read_text()


def test_what_computes_the_recurrence_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "missing-compiler")
    assert describe_kernel().startswith("TensorFlow's: no C compiler")
    monkeypatch.setenv("CC", f"{sys.executable} -m")
    assert describe_kernel() == f"compiled by {sys.executable} -m"


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["native", "x86-64-v3", *EMULATED])
def test_the_sanitizers_find_nothing(processor: str, tmp_path: Path, kernel: Kernel) -> None:
    """The tiles of a processor are not instrumented, the emulated ones are."""
    options = EMULATED.get(processor, [f"-march={processor}"])
    program = Path(__file__).with_name("run_kernel.c")
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-I", str(compiler.SOURCE.parent)]
    command = [*compiler.find_compiler(), "-std=gnu11", "-O1", "-g", "-Wno-psabi", *options, *checks]
    subprocess.run([*command, "-o", tmp_path / "run", program, "-lm"], check=True)
    done = subprocess.run([tmp_path / "run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "648 windows\n"
