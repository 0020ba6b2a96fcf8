"""kernel.c against float64 NumPy, on this processor and on emulated ones, and how it is compiled, kept and loaded.

Axes: T time, R rows, V characters, H units, L layers.
"""

import functools
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from arrays import check_close
from conftest import MakeOnce
from numpy.typing import NDArray

from charlm.config.schema import ACTIVATIONS, Config, TrainingConfig
from charlm.engine import compiler
from charlm.engine import kernel as module
from charlm.engine.compiler import compiler_options, describe_kernel
from charlm.engine.kernel import Kernel, Network, load_kernel, settle_kernel
from charlm.errors import CharlmError

Shape = tuple[int, int, int, int, int]
Doubles = NDArray[np.float64]
SHAPES: list[Shape] = [
    *((1, 1, 1, 1, 2), (5, 1, 2, 7, 9), (3, 7, 3, 16, 5), (4, 13, 2, 333, 65), (9, 60, 4, 40, 96)),
    (2, 3, 1, 5, 5000),
]
"""T, R, L, H, V: also those that are no multiple of a block, a panel or a tile."""
FUNCTIONS: dict[str, Any] = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0), "linear": lambda a: a} | {
    "sigmoid": lambda a: 1 / (1 + np.exp(-a))
}
SLOPES: dict[str, Any] = {"tanh": lambda h: 1 - h * h, "relu": lambda h: 1.0 * (h > 0), "linear": np.ones_like} | {
    "sigmoid": lambda h: h * (1 - h)
}
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
WITH_BFLOAT16 = ["native", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bfloat16", "tiles"))]
PRECISIONS = [
    *(("native", is_bfloat16) for is_bfloat16 in (False, True)),
    *(pytest.param(name, False, marks=pytest.mark.slow) for name in EMULATED),
    *(pytest.param(name, True, marks=pytest.mark.slow) for name in ("bfloat16", "tiles")),
]
STRUCTURES = [("tanh", True, True), ("sigmoid", False, False), ("relu", True, False), ("linear", False, True)]
"""Activation, skip connections and masks: each value of each."""


def is_quick(processor: str, shape: Shape, *structure: Any) -> bool:
    """Return whether a case is for the fast tests.

    They have, on this processor, every structure at one shape and STRUCTURES at the others.
    """
    return processor == "native" and (shape == SHAPES[2] or structure in STRUCTURES)


CASES = [
    pytest.param(
        *(processor, shape, activation, skips, has_masks),
        marks=[] if is_quick(processor, shape, activation, skips, has_masks) else pytest.mark.slow,
        id="-".join(map(str, (processor, *shape, activation, skips, has_masks))),
    )
    for processor, shape, activation, skips, has_masks in itertools.product(
        ["native", *EMULATED], SHAPES, ACTIVATIONS, [False, True], [False, True]
    )
]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    if not any(shutil.which(name) for name in compiler.COMPILERS):
        pytest.skip("missing: a C compiler")
    return load_kernel()


@pytest.fixture(scope="session")
def emulate(make_once: MakeOnce) -> Callable[[str], Kernel]:
    """Return a function that returns the kernel of an emulated processor, which it compiles at the first call."""
    options = ["-std=gnu11", "-O1", "-ffp-contract=fast", "-fPIC", "-shared", "-Wno-psabi"]

    @functools.cache
    def compiled(processor: str) -> Kernel:
        command = [*compiler.find_compiler(), *options, *EMULATED[processor], str(compiler.SOURCE), "-lm", "-o"]
        return Kernel(make_once(f"{processor}.so", lambda path: subprocess.run([*command, path], check=True)))

    return compiled


@pytest.fixture
def any_kernel(request: pytest.FixtureRequest, kernel: Kernel, emulate: Callable[[str], Kernel]) -> Kernel:
    """Return the kernel of the processor at hand, "native", or of an emulated one."""
    return kernel if request.param == "native" else emulate(request.param)


def rounded(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return an array rounded to bfloat16."""
    return array.astype(ml_dtypes.bfloat16).astype(np.float64)


@dataclass
class Case:
    """A window, the weights of a network, and the arguments of `Kernel.gradient` for it."""

    shape: Shape
    activation: str = "tanh"
    skips: bool = True
    has_masks: bool = False
    is_soft: bool = False
    temperature: float = 1.0
    bfloat16: bool = False

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        time, rows, layers, units, characters = self.shape
        features = units * layers if self.skips else units

        def normal(*shape: int, scale: float = 1.0) -> NDArray[Any]:
            return (scale * rng.standard_normal(shape)).astype(np.float32)

        def mask(*shape: int) -> NDArray[Any]:
            return ((rng.random(shape) > 0.3) / 0.7).astype(np.float32)

        tables = [normal(characters if self.skips or not layer else 1, units, scale=0.3) for layer in range(layers)]
        square = [normal(units, units, scale=0.7 / units**0.5) for _ in range(2 * layers - 1)]
        self.weights = [*tables, *square, normal(features, characters, scale=units**-0.5), normal(characters)]
        self.network = Network(layers, units, characters, self.activation, self.skips, bfloat16=self.bfloat16)
        self.options: dict[str, Any] = {"window": rng.integers(0, characters, (time + 1, rows), np.int32)}
        self.options |= {"state": normal(layers, rows, units, scale=0.5), "share": 0.5, "temperature": self.temperature}
        if self.has_masks:
            self.options |= {"recurrent_mask": mask(layers, rows, units), "output_mask": mask(time, rows, features)}
            self.options |= {"layer_mask": mask(layers - 1, rows, units)} if layers > 1 else {}
        if self.is_soft:
            soft = rng.random((time, rows, characters))
            self.options |= {"soft": (soft / soft.sum(-1, keepdims=True)).astype(np.float32), "soft_weight": 0.6}

    def found(self, kernel: Kernel) -> tuple[NDArray[Any], float, list[NDArray[Any]]]:
        """Return the last state, the loss and the gradients that the kernel computes."""
        packed = kernel.pack(self.network, self.weights)
        last, vector = kernel.gradient(self.network, self.weights, packed, **self.options)
        sizes = np.cumsum([1, *(weight.size for weight in self.weights)])
        parts = np.split(vector, sizes[:-1])[1:]
        return last, float(vector[0]), [one.reshape(w.shape) for one, w in zip(parts, self.weights, strict=True)]

    def expected(self) -> tuple[Doubles, float, list[Doubles]]:
        """Return the same by the equations of kernel.c, in float64."""
        time, rows, layers, units, characters = self.shape
        *own, logits, bias = (weight.astype(float) for weight in self.weights)
        tables, matrices, below = own[:layers], own[layers : 2 * layers], own[2 * layers :]
        ids, given = self.options["window"], self.options.get
        ones = np.ones((layers, rows, units))
        m, n, o = given("recurrent_mask", ones), given("layer_mask", ones), given("output_mask", np.ones(time))
        h, d, loss = [[*self.options["state"].astype(float)]], [], 0.0
        features: list[Doubles] = []
        for step in range(time):
            state: list[Doubles] = []
            for layer in range(layers):
                a = tables[layer][self._rows(layer, step)] + (h[-1][layer] * m[layer]) @ matrices[layer]
                if layer:
                    a += (state[-1] * n[layer - 1]) @ below[layer - 1]
                state.append(FUNCTIONS[self.activation](a))
            h.append(state)
            features.append((np.concatenate(state, -1) if self.skips else state[-1]) * o[step])
            z, hard = features[-1] @ logits + bias, np.eye(characters)[ids[step + 1]]
            loss += float((np.log(np.exp(z).sum(-1)) - (z * hard).sum(-1)).sum())
            p = np.exp(z / self.temperature)
            wanted = 0.4 * hard + 0.6 * self.options["soft"][step].astype(float) if self.is_soft else hard
            d.append((p / p.sum(-1, keepdims=True) - wanted) / self.temperature * 0.5 / (time * rows))
        gradients = [np.zeros(weight.shape) for weight in self.weights]
        after = [np.zeros((rows, units))] * layers
        for step in reversed(range(time)):
            gradients[-2] += features[step].T @ d[step]
            gradients[-1] += d[step].sum(0)
            back = (d[step] @ logits.T) * o[step]
            arguments: list[Doubles] = []
            for layer in reversed(range(layers)):
                d_h = after[layer] @ matrices[layer].T * m[layer]
                if self.skips or not arguments:
                    d_h = d_h + (back[:, layer * units :][:, :units] if self.skips else back)
                if arguments:
                    d_h = d_h + arguments[0] @ below[layer].T * n[layer]
                a = d_h * SLOPES[self.activation](h[step + 1][layer])
                np.add.at(gradients[layer], self._rows(layer, step), a)
                gradients[layers + layer] += (h[step][layer] * m[layer]).T @ a
                if layer:
                    gradients[2 * layers + layer - 1] += (h[step + 1][layer - 1] * n[layer - 1]).T @ a
                arguments.insert(0, a)
            after = arguments
        return np.array(h[-1]), loss * 0.5 / (time * rows), gradients

    def _rows(self, layer: int, step: int) -> NDArray[Any]:
        """Return which row of the table a layer adds, for each row of the batch."""
        ids = self.options["window"][step]
        return ids if self.skips or not layer else np.zeros_like(ids)


@functools.cache
def expected(**fields: Any) -> tuple[Doubles, float, list[Doubles]]:
    """Return what `Case.expected` returns for a case with these fields: once for all processors."""
    return Case(**fields).expected()


def check(kernel: Kernel, case: Case, *, of_peak: float = 1e-4) -> None:
    """Compare what the kernel computes with the equations, every gradient by its largest element."""
    last, loss, gradients = case.found(kernel)
    wanted, wanted_loss, wanted_gradients = expected(**(asdict(case) | {"bfloat16": False}))
    check_close([last, np.float64(loss)], [wanted, np.float64(wanted_loss)], atol=of_peak, rtol=of_peak)
    check_close(gradients, wanted_gradients, of_peak=of_peak)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_library_of_ziglang_computes_the_same(
    shape: Shape, bfloat16: bool, kernel: Kernel, make_once: MakeOnce
) -> None:
    pytest.importorskip("ziglang", reason="missing: ziglang")
    if bfloat16 and not kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    command = [sys.executable, "-m", "ziglang", "cc", *compiler.compiler_options(), str(compiler.SOURCE), "-lm", "-o"]
    other = Kernel(make_once("zig.so", lambda path: subprocess.run([*command, path], check=True)))
    case = Case(shape, has_masks=True, is_soft=True, bfloat16=bfloat16)
    (last, loss, gradients), expected = case.found(other), case.found(kernel)
    tolerance = 0.03 if bfloat16 else 1e-5
    assert loss == pytest.approx(expected[1], rel=tolerance)
    check_close([last, *gradients], [expected[0], *expected[2]], of_peak=tolerance)


@pytest.mark.parametrize(("any_kernel", "shape", "activation", "skips", "has_masks"), CASES, indirect=["any_kernel"])
def test_the_state_the_loss_and_the_gradients_are_those_of_float64(
    any_kernel: Kernel, shape: Shape, activation: str, skips: bool, has_masks: bool
) -> None:
    check(any_kernel, Case(shape, activation, skips, has_masks))


@pytest.mark.parametrize("is_soft", [False, True], ids=["", "soft"])
@pytest.mark.parametrize("temperature", [1.0, 0.75])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_soft_targets_and_a_temperature_change_what_is_minimised_and_not_the_loss(
    shape: Shape, temperature: float, is_soft: bool, kernel: Kernel
) -> None:
    case = Case(shape, temperature=temperature, is_soft=is_soft)
    check(kernel, case)
    assert case.found(kernel)[1] == Case(shape).found(kernel)[1]


@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
@pytest.mark.parametrize("any_kernel", WITH_BFLOAT16, indirect=True)
def test_bfloat16_changes_results_only_by_rounding(shape: Shape, any_kernel: Kernel) -> None:
    if not any_kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    check(any_kernel, Case(shape, has_masks=True, bfloat16=True), of_peak=0.03)


@pytest.mark.parametrize(
    "shape", [(1, rows, 1, units, 65) for rows, units in ((1, 1), (7, 16), (33, 65), (60, 40))], ids=str
)
@pytest.mark.parametrize("any_kernel", WITH_BFLOAT16, indirect=True)
def test_bfloat16_rounds_factors_to_nearest_and_nothing_else(shape: Shape, any_kernel: Kernel) -> None:
    if not any_kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    case = Case(shape, bfloat16=True)
    for weight in case.weights[1:3]:
        bits = weight.view(np.uint32)
        bits[:, ::2] = bits[:, ::2] & 0xFFFF0000 | 0x8000  # between two bfloat16: the even one is nearest
    last, loss, (d_table, d_matrix, d_logits, d_bias) = case.found(any_kernel)
    table, matrix, logits, bias = case.weights
    (ids, targets), before = case.options["window"], rounded(case.options["state"][0])
    h = np.tanh(table[ids] + before @ rounded(matrix))
    z = rounded(last[0]) @ rounded(logits) + bias
    hard, p = np.eye(65)[targets], np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    d = (p - hard) * 0.5 / len(ids)
    d_h = rounded(d.astype(np.float32)) @ rounded(logits).T
    a = SLOPES["tanh"](last[0].astype(float)) * d_h
    expected_table = np.zeros(table.shape)
    np.add.at(expected_table, ids, a)
    close: dict[str, Any] = {"atol": 2e-5, "rtol": 2e-5}
    check_close([last[0], np.float64(loss), d_bias], [h, -0.5 * np.log((p * hard).sum(-1)).mean(), d.sum(0)], **close)
    check_close([d_table], [expected_table], **close)
    # A number that is rounded may lie so near to the middle between two bfloat16 that float64 takes the other.
    check_close([d_logits, d_matrix], [rounded(last[0]).T @ d, before.T @ a], of_peak=2**-8)


@pytest.mark.parametrize(("any_kernel", "bfloat16"), PRECISIONS, indirect=["any_kernel"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_weight_that_is_not_a_number_stays_so(activation: str, bfloat16: bool, any_kernel: Kernel) -> None:
    if bfloat16 and not any_kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    case = Case((3, 2, 1, 5, 4), activation, bfloat16=bfloat16)
    case.options["state"][0, 1, 2] = np.nan
    last, loss, gradients = case.found(any_kernel)
    assert np.isnan(last[0, 1]).all()
    assert not np.isnan(last[0, 0]).any()
    assert np.isnan(loss)
    assert all(np.isnan(gradient).any() for gradient in gradients)


@pytest.mark.parametrize(("any_kernel", "bfloat16"), PRECISIONS, indirect=["any_kernel"])
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(bfloat16: bool, any_kernel: Kernel) -> None:
    if bfloat16 and not any_kernel.has_bfloat16:
        pytest.skip("this processor does not multiply bfloat16")
    whole = Case((3, 40, 2, 130, 9), bfloat16=bfloat16)
    everything = whole.found(any_kernel)[0]
    for rows in (slice(0, 1), slice(3, 20), slice(7, 40)):
        part = replace(whole)
        for name, axis in (("window", 1), ("state", 1)):
            part.options[name] = np.ascontiguousarray(whole.options[name].take(range(*rows.indices(40)), axis))
        np.testing.assert_array_equal(part.found(any_kernel)[0], everything[:, rows])


def write_script(path: Path, commands: str) -> Path:
    """Write a compiler, whose last two arguments are the library that it writes and the source."""
    path.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n{commands}\n')
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def quick(kernel: Kernel, make_once: MakeOnce) -> Path:
    """Return a compiler that copies a library, which was compiled once."""
    command = [*compiler.find_compiler(), *compiler_options(), str(compiler.SOURCE), "-lm", "-o"]
    library = make_once("native.so", lambda path: subprocess.run([*command, path], check=True))
    return make_once("compiler", lambda path: write_script(path, f'cp {library} "$2"'))


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick: Path) -> Path:
    """Return the cache folder, which is not there yet, of a process that has not loaded the kernel."""
    monkeypatch.setenv("CC", str(quick))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "LOADED", [])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "cache" / "charlm"


def load(said: list[str]) -> str:
    """Return what computes the gradients of a config that leaves it open; `said` takes the lines for the user."""
    module.LOADED.clear()
    return settle_kernel(Config(), say=said.append).training.kernel


def test_the_kernel_is_compiled_once_into_a_folder_of_the_user(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.setenv("CHARLM_CFLAGS", "-O0")
    said: list[str] = []
    assert load(said) == load(said) == "compiled"
    assert len([*cache.glob("*.so")]) == len(said) == 1
    assert "compiles it for this processor, once, for at most 60 s" in said[0]
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


def test_a_kept_file_that_is_no_library_is_compiled_again(cache: Path) -> None:
    said: list[str] = []
    load(said)
    (library,) = cache.glob("*.so")
    whole = library.read_bytes()
    library.write_bytes(whole[:100])
    assert load(said) == "compiled"
    assert len(said) == 2
    assert library.read_bytes() == whole


def test_without_a_compiler_that_of_the_package_ziglang_is_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a package of that name that takes the options of another compiler."""
    package = tmp_path / "ziglang"
    package.mkdir()
    program = f"import subprocess, sys; sys.exit(subprocess.call([{os.environ['CC']!r}, *sys.argv[2:]]))"
    (package / "__main__.py").write_text(program)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CC")
    monkeypatch.setattr(compiler, "COMPILERS", ())
    said: list[str] = []
    assert load(said) == load(said) == "compiled"
    assert said == ["kernel: ziglang compiles it for this processor, once, for at most 60 s"]


def test_a_library_in_a_folder_that_others_can_write_is_compiled_for_the_process_alone(cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    said: list[str] = []
    assert load(said) == "compiled"
    assert said[1] == f"kernel: compiled for this process alone: {cache} can be written by others"
    assert not [*cache.glob("*.so")]


def test_options_that_no_shell_would_take_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_CFLAGS", "-DX='a b' -O2")
    assert compiler_options()[-2:] == ["-DX=a b", "-O2"]
    monkeypatch.setenv("CHARLM_CFLAGS", "'")
    with pytest.raises(CharlmError, match=r"^CHARLM_CFLAGS: No closing quotation"):
        compiler_options()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (
            "missing",
            "no C compiler (looked for CC=missing); with one, training is 1.7 to 3.5 times as fast: pip install "
            "ziglang brings one",
        ),
        ("false", "false: cannot compile kernel.c: exit code 1"),
    ],
)
def test_without_a_compiler_keras_computes_it_and_the_user_is_told(
    command: str, reason: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", command)
    said: list[str] = []
    assert load(said) == "keras"
    assert said[-1] == f"kernel: Keras's: {reason}"
    wanted = Config(training=TrainingConfig(epochs=1, kernel="compiled"))
    with pytest.raises(CharlmError, match=re.escape(f"training.kernel: found compiled; must be keras: {reason}")):
        settle_kernel(wanted, say=said.append)
    assert settle_kernel(wanted, say=said.append, is_recorded=True).training.kernel == "keras"
    assert said[-1] == f"kernel: continuing with Keras's, so results will not be bit-identical: {reason}"


def test_a_compiler_that_hangs_is_ended_with_what_it_has_started(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = write_script(tmp_path / "hangs", f"sleep 60 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setenv("CC", str(compiles))
    begun, seconds = tmp_path / "child", 0.1
    begun.touch()
    while not begun.read_text():  # if the machine is busy, the time may be over before the compiler has begun
        monkeypatch.setattr(compiler, "COMPILE_SECONDS", seconds := 2 * seconds)
        said: list[str] = []
        assert load(said) == "keras"
        assert said[1].endswith(f"{compiles}: cannot compile kernel.c: no result after {seconds} s")
    child = Path("/proc") / begun.read_text().strip()
    end = time.monotonic() + 30
    while child.exists() and " Z " not in (child / "stat").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_computes_the_gradients_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "missing-compiler")
    assert describe_kernel().startswith("Keras's: no C compiler")
    monkeypatch.setenv("CC", f"{sys.executable} -m")
    assert describe_kernel() == f"compiled by {sys.executable}"


@pytest.mark.parametrize(
    ("arguments", "windows"),
    [
        pytest.param([], 163, id="", marks=pytest.mark.slow),
        pytest.param(["large"], 216, id="large", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("processor", ["native", "x86-64-v3", *EMULATED])
def test_the_sanitizers_find_nothing(
    processor: str, arguments: list[str], windows: int, tmp_path: Path, kernel: Kernel
) -> None:
    """The tiles of a processor are not instrumented, the emulated ones are."""
    options = EMULATED.get(processor, [f"-march={processor}"])
    program = Path(__file__).with_name("run_kernel.c")
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-I", str(compiler.SOURCE.parent)]
    command = [*compiler.find_compiler(), "-std=gnu11", "-O1", "-g", "-Wno-psabi", *options, *checks]
    subprocess.run([*command, "-o", tmp_path / "run", program, "-lm"], check=True)
    done = subprocess.run([tmp_path / "run", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{windows} windows\n"
