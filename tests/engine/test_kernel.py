"""kernel.c against float64, on this processor and on emulated ones, and how it is compiled, kept and loaded.

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
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close
from conftest import MakeOnce
from numpy.typing import NDArray

from charlm import hardware
from charlm.config.schema import ACTIVATIONS, Config, TrainingConfig
from charlm.engine import compiler
from charlm.engine import kernel as module
from charlm.engine.compiler import compiler_options, describe_kernel
from charlm.engine.factory import resolve_kernel
from charlm.engine.kernel import Kernel, Network, load_kernel
from charlm.errors import CharlmError
from charlm.events import Event, KernelCompiling, KernelNotKept, SettingReplaced
from charlm.hardware import find_compiler
from charlm.network.architecture import Architecture

Shape = tuple[int, int, int, int, int]
Kernels = Callable[[str], Kernel]
SHAPES: list[Shape] = [
    *(
        (1, 1, 1, 1, 2),
        (5, 1, 2, 7, 9),
        (3, 7, 3, 16, 5),
        (4, 13, 2, 333, 65),
        (9, 60, 4, 40, 96),
        (2, 3, 1, 5, 5000),
    )
]
"""T, R, L, H, V: also those that are no multiple of a block, a panel or a tile."""
FUNCTIONS: dict[str, Any] = {
    "tanh": tf.tanh,
    "relu": tf.nn.relu,
    "linear": tf.identity,
    "sigmoid": tf.sigmoid,
}
EMULATED = {
    name: ["-I", str(Path(__file__).with_name("emulated")), *(f"-D{macro}" for macro in macros)]
    for name, macros in {
        **{"vectors of 4": (), "AVX2": ("__FMA__",), "AVX-512": ("__FMA__", "__AVX512F__")},
        "bfloat16": ("__FMA__", "__AVX512F__", "__AVX512BF16__"),
        "tiles": ("__FMA__", "__AVX512F__", "__AVX512BF16__", "__AMX_BF16__"),
    }.items()
}
"""Options of the compiler for processors that need not be at hand: emulated/immintrin.h has their instructions in C."""
KERNELS, WITH_BFLOAT16 = (
    ["native", *(pytest.param(name, marks=pytest.mark.slow) for name in names)]
    for names in ((*EMULATED, "ziglang"), ("bfloat16", "tiles", "ziglang"))
)
STRUCTURES: list[dict[str, Any]] = [
    {"activation": "tanh", "has_masks": True, "is_soft": True},
    {"activation": "sigmoid", "skips": False, "temperature": 0.75},
    {"activation": "relu", "is_soft": True, "temperature": 0.75},
    {"activation": "linear", "skips": False, "has_masks": True},
]
"""Each value of each field of a case."""
CASES = [
    *itertools.product(SHAPES, STRUCTURES),
    *(
        (SHAPES[2], {"activation": activation, "skips": skips, "has_masks": has_masks})
        for activation, skips, has_masks in itertools.product(
            ACTIVATIONS, [False, True], [False, True]
        )
    ),
]


@pytest.fixture(scope="session")
def kernel_for(make_once: MakeOnce) -> Kernels:
    """Return a function that returns the kernel of this processor, of an emulated one, or of another compiler."""
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
            command = [*find_compiler(), *options, *EMULATED[name]]
        command += [str(compiler.SOURCE), "-lm", "-o"]
        return Kernel(
            make_once(f"{name}.so", lambda path: subprocess.run([*command, path], check=True))
        )

    return kernel


def rounded(factor: Any) -> Any:
    """Return a factor of a product rounded to bfloat16; its gradient is that of what it was."""
    return factor + tf.stop_gradient(tf.cast(tf.cast(factor, tf.bfloat16), tf.float64) - factor)


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

        tables = [
            normal(characters if self.skips or not layer else 1, units, scale=0.3)
            for layer in range(layers)
        ]
        self.weights: list[NDArray[Any] | None] = []
        for layer, table in enumerate(tables):
            is_read = self.skips or layer == layers - 1
            recurrent = normal(units, units, scale=0.7 / units**0.5)
            above = normal(units, units, scale=0.7 / units**0.5) if layer < layers - 1 else None
            logits = normal(units, characters, scale=units**-0.5) if is_read else None
            self.weights += [table, recurrent, above, logits]
            for matrix in (recurrent, above, logits) if self.bfloat16 else ():
                if matrix is not None:
                    bits = matrix.view(np.uint32)
                    bits[:, ::2] = (
                        bits[:, ::2] & 0xFFFF0000 | 0x8000
                    )  # between two bfloat16: the even one is nearest
        self.weights.append(normal(characters))
        shape = Architecture(characters, layers, units, None, True, self.activation, self.skips)
        self.network = Network(shape, bfloat16=self.bfloat16)
        self.options: dict[str, Any] = {
            "window": rng.integers(0, characters, (time + 1, rows), np.int32)
        }
        self.options |= {
            "state": normal(layers, rows, units, scale=0.5),
            "share": 0.5,
            "temperature": self.temperature,
        }
        if self.has_masks:
            self.options |= {
                "recurrent_mask": mask(layers, rows, units),
                "output_mask": mask(time, rows, features),
            }
            self.options |= {"layer_mask": mask(layers - 1, rows, units)} if layers > 1 else {}
        if self.is_soft:
            soft = rng.random((time, rows, characters))
            self.options |= {
                "soft": (soft / soft.sum(-1, keepdims=True)).astype(np.float32),
                "soft_weight": 0.6,
            }

    def found(self, kernel: Kernel) -> tuple[NDArray[Any], float, list[NDArray[Any]]]:
        """Return the last state, the loss and the gradients that the kernel computes."""
        if self.bfloat16 and not kernel.has_bfloat16:
            pytest.skip("this processor does not multiply bfloat16")
        packed = kernel.pack(self.network, self.weights)
        last, vector = kernel.gradient(self.network, self.weights, packed, **self.options)
        present = [weight for weight in self.weights if weight is not None]
        sizes = np.cumsum([1, *(weight.size for weight in present)])
        parts = np.split(vector, sizes[:-1])[1:]
        return (
            last,
            float(vector[0]),
            [one.reshape(w.shape) for one, w in zip(parts, present, strict=True)],
        )

    def expected(self) -> tuple[Any, Any, list[Any]]:
        """Return the same by the equations of kernel.c, in float64; TensorFlow differentiates them."""
        time, rows, layers, units, characters = self.shape
        slots = [
            None if weight is None else tf.Variable(weight.astype(float)) for weight in self.weights
        ]
        weights = [weight for weight in slots if weight is not None]
        tables, matrices, above, logits = (slots[first:-1:4] for first in range(4))
        given = {
            name: value.astype(float)
            for name, value in self.options.items()
            if isinstance(value, np.ndarray)
        }
        m, n = (
            given.get(name, np.ones((layers, rows, units)))
            for name in ("recurrent_mask", "layer_mask")
        )
        o, h, loss, minimised = given.get("output_mask", np.ones(time)), [*given["state"]], 0.0, 0.0
        r = rounded if self.bfloat16 else tf.identity
        with tf.GradientTape() as tape:
            output = tf.concat([matrix for matrix in logits if matrix is not None], 0)
            for step, (ids, targets) in enumerate(itertools.pairwise(self.options["window"])):
                for layer in range(layers):
                    row = ids if self.skips or not layer else np.zeros_like(ids)
                    a = tf.gather(tables[layer], row) + r(h[layer] * m[layer]) @ r(matrices[layer])
                    if layer:
                        a += r(h[layer - 1] * n[layer - 1]) @ r(above[layer - 1])
                    h[layer] = FUNCTIONS[self.activation](a)
                z = r((tf.concat(h, -1) if self.skips else h[-1]) * o[step]) @ r(output) + slots[-1]
                hard = np.eye(characters)[targets]
                wanted = 0.4 * hard + 0.6 * given["soft"][step] if self.is_soft else hard
                loss -= tf.reduce_sum(hard * tf.nn.log_softmax(z)) * 0.5 / (time * rows)
                minimised -= (
                    tf.reduce_sum(wanted * tf.nn.log_softmax(z / self.temperature))
                    * 0.5
                    / (time * rows)
                )
        gradients = [
            tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(minimised, weights)
        ]
        return np.array(h), np.float64(loss), gradients


@functools.cache
def expected(**fields: Any) -> tuple[Any, Any, list[Any]]:
    """Return what `Case.expected` returns for a case with these fields: once for all processors."""
    return Case(**fields).expected()


@pytest.mark.parametrize("processor", KERNELS)
@pytest.mark.parametrize(("shape", "fields"), CASES, ids=str)
def test_results_equal_float64(
    processor: str, shape: Shape, fields: dict[str, Any], kernel_for: Kernels
) -> None:
    case = Case(shape, **fields)
    last, loss, gradients = case.found(kernel_for(processor))
    wanted, wanted_loss, wanted_gradients = expected(**asdict(case))
    check_close([last, np.float64(loss)], [wanted, wanted_loss], atol=1e-4, rtol=1e-4)
    check_close(gradients, wanted_gradients, of_peak=1e-4)


@pytest.mark.parametrize("processor", KERNELS)
@pytest.mark.parametrize("skips", [False, True], ids=["plain", "skips"])
def test_losses_alone_are_those_of_a_window_without_dropout(
    skips: bool, processor: str, kernel_for: Kernels
) -> None:
    kernel, case = kernel_for(processor), Case((4, 13, 2, 333, 65), skips=skips)
    last, loss, _ = case.found(kernel)
    packed = kernel.pack(case.network, case.weights)
    window, state = (case.options[name] for name in ("window", "state"))
    again, losses = kernel.losses(case.network, case.weights, packed, window=window, state=state)
    assert losses.shape == (4, 13)
    assert case.options["share"] * losses.mean() == pytest.approx(loss, rel=1e-6)
    np.testing.assert_array_equal(again, last)


POLYNOMIALS = np.array([[3.5, -5.0, 2.2], [1.9, -1.2, 0.3]], np.float32)


def muon_step(
    gradient: Any,
    momentum: Any,
    weights: Any,
    *,
    nesterov: bool,
    factor: float,
    decay: float,
    rate: float,
) -> tuple[Any, Any]:
    """Return the momentum and the weights after a step by the equations of muon.h, in float64."""
    momentum = factor * momentum + gradient
    x = gradient + factor * momentum if nesterov else momentum
    x = x / np.linalg.norm(x)
    if is_tall := len(x) > x.shape[1]:
        x = x.T
    for a, b, c in POLYNOMIALS.astype(float):
        gram = x @ x.T
        x = (a * np.eye(len(x)) + b * gram + c * gram @ gram) @ x
    return momentum, (1 - decay) * weights - rate * (x.T if is_tall else x)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 7), (130, 70), (70, 333)], ids=str)
@pytest.mark.parametrize("nesterov", [False, True], ids=["plain", "Nesterov"])
@pytest.mark.parametrize("processor", KERNELS)
def test_a_step_of_muon_equals_float64(
    processor: str, nesterov: bool, shape: tuple[int, int], kernel_for: Kernels
) -> None:
    given = np.random.default_rng(1).standard_normal((3, *shape)).astype(np.float32)
    options: dict[str, Any] = {"decay": 0.25, "rate": 3.0}
    kernel = kernel_for(processor)
    expected = muon_step(*given.astype(float), nesterov=nesterov, factor=0.75, **options)
    for bfloat16 in (False, True)[: 1 + kernel.has_bfloat16]:
        found = kernel.muon_step(
            *given,
            polynomials=POLYNOMIALS,
            nesterov=nesterov,
            bfloat16=bfloat16,
            momentum_factor=0.75,
            **options,
        )
        check_close(found[:1], expected[:1], atol=1e-6, rtol=1e-6)
        check_close(found[1:], expected[1:], atol=0.1 if bfloat16 else 2e-5)


def test_denormal_numbers_are_as_before_after_a_call(kernel_for: Kernels) -> None:
    Case(SHAPES[0]).found(kernel_for("native"))
    assert np.float32(1e-40) * np.float32(0.5) > 0


@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
@pytest.mark.parametrize("processor", WITH_BFLOAT16)
def test_bfloat16_rounds_nothing_but_factors(
    shape: Shape, processor: str, kernel_for: Kernels
) -> None:
    """Few numbers lie so near to the middle between two bfloat16 that float64 takes the other."""
    case = Case(shape, has_masks=True, bfloat16=True)
    last, loss, gradients = case.found(kernel_for(processor))
    wanted, wanted_loss, wanted_gradients = expected(**asdict(case))
    assert np.abs(last - wanted).mean() < 3e-5
    assert loss == pytest.approx(wanted_loss, rel=1e-4)
    check_close(gradients, wanted_gradients, of_peak=0.01)


@pytest.mark.parametrize(
    ("processor", "bfloat16"),
    [
        *(("native", is_bfloat16) for is_bfloat16 in (False, True)),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in EMULATED),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in ("bfloat16", "tiles")),
    ],
)
def test_rows_do_not_change_each_other(processor: str, bfloat16: bool, kernel_for: Kernels) -> None:
    kernel = kernel_for(processor)
    for activation in ACTIVATIONS:
        case = Case((3, 2, 1, 5, 4), activation, bfloat16=bfloat16)
        case.options["state"][0, 1, 2] = np.nan
        last, loss, gradients = case.found(kernel)
        assert np.isnan(last[0, 1]).all()
        assert not np.isnan(last[0, 0]).any()
        assert np.isnan(loss)
        assert all(np.isnan(gradient).any() for gradient in gradients)
    whole = Case((3, 40, 2, 130, 9), bfloat16=bfloat16)
    everything = whole.found(kernel)[0]
    for rows in (slice(0, 1), slice(3, 20), slice(7, 40)):
        part = replace(whole)
        for name in ("window", "state"):
            part.options[name] = np.ascontiguousarray(whole.options[name][:, rows])
        np.testing.assert_array_equal(part.found(kernel)[0], everything[:, rows])


# How it is compiled


def write_script(path: Path, commands: str) -> Path:
    """Write a compiler, whose last two arguments are the library that it writes and the source."""
    path.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n{commands}\n')
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def quick(kernel_for: Kernels, make_once: MakeOnce) -> Path:
    """Return a compiler that copies a library, which was compiled once."""
    command = [*find_compiler(), *compiler_options(), str(compiler.SOURCE), "-lm", "-o"]
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


def load(events: list[Event]) -> str:
    """Return what computes the gradients of a config that leaves it open; events are added to the list."""
    module.LOADED.clear()
    return resolve_kernel(Config(), on_event=events.append).training.kernel


def test_the_kernel_is_compiled_once_for_the_user(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.setenv("CHARLM_CFLAGS", "-O0")
    events: list[Event] = []
    assert load(events) == load(events) == "compiled"
    assert len([*cache.glob("*.so")]) == len(events) == 1
    assert isinstance(events[0], KernelCompiling)
    assert events[0].limit_seconds == 60
    assert [*tmp_path.glob(".charlm-*")] == []
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_library_that_is_damaged_or_not_for_the_user_alone_is_not_loaded(cache: Path) -> None:
    events: list[Event] = []
    load(events)
    (library,) = cache.glob("*.so")
    whole = library.read_bytes()
    library.write_bytes(whole[:100])
    assert load(events) == "compiled"
    assert len(events) == 2
    assert library.read_bytes() == whole
    library.unlink()
    cache.chmod(0o777)
    assert load(events) == "compiled"
    assert events[3] == KernelNotKept(f"{cache} can be written by others")
    assert not [*cache.glob("*.so")]


def test_without_a_home_the_kernel_is_for_the_process_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("no home")))
    assert compiler.cache_folder({}) == (None, "no home")


@pytest.mark.usefixtures("cache")
def test_a_library_is_of_a_source_compiler_processor_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        events: list[Event] = []
        for _ in range(2):
            compiler.open_library(str, on_event=events.append)
        assert len(events) == 1


def test_without_a_compiler_ziglang_is_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a package of that name that takes the options of another compiler."""
    package = tmp_path / "ziglang"
    package.mkdir()
    program = (
        f"import subprocess, sys; sys.exit(subprocess.call([{os.environ['CC']!r}, *sys.argv[2:]]))"
    )
    (package / "__main__.py").write_text(program)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CC")
    monkeypatch.setattr(hardware, "COMPILERS", ())
    events: list[Event] = []
    assert load(events) == load(events) == "compiled"
    assert events == [KernelCompiling("ziglang", 60)]


def test_options_that_no_shell_would_take_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_CFLAGS", "-DX='a b' -O2")
    assert compiler_options()[-2:] == ["-DX=a b", "-O2"]
    monkeypatch.setenv("CHARLM_CFLAGS", "'")
    with pytest.raises(CharlmError, match=r"^CHARLM_CFLAGS: "):
        compiler_options()


def check_replaced(event: Event, reason: str, *, changes_bits: bool) -> None:
    """Check that an event tells that Keras is used, and why."""
    assert isinstance(event, SettingReplaced)
    assert (event.key, event.used, event.changes_bits) == ("training.kernel", "keras", changes_bits)
    assert re.fullmatch(reason, event.problem)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (
            "missing",
            r"no C compiler \(looked for CC=missing\); .*; with a compiler, training is 2 to 6 times as fast",
        ),
        ("false", "false: cannot compile kernel.c: exit code 1"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_without_a_compiler_keras_is_told(
    command: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", command)
    events: list[Event] = []
    assert load(events) == "keras"
    check_replaced(events[-1], reason, changes_bits=False)
    wanted = Config(training=TrainingConfig(epochs=1, kernel="compiled"))
    with pytest.raises(
        CharlmError, match=f"^training.kernel: found compiled; must be keras: {reason}"
    ):
        resolve_kernel(wanted, on_event=events.append)
    assert (
        resolve_kernel(wanted, on_event=events.append, is_recorded=True).training.kernel == "keras"
    )
    check_replaced(events[-1], reason, changes_bits=True)
    is_found = command == "false"
    assert describe_kernel().startswith(
        "compiled by false" if is_found else "Keras, because there is no C compiler"
    )


def test_a_compiler_that_hangs_is_ended_whole(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = write_script(tmp_path / "hangs", f"sleep 60 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setenv("CC", str(compiles))
    begun, seconds = tmp_path / "child", 0.1
    begun.touch()
    while (
        not begun.read_text()
    ):  # if the machine is busy, the time may be over before the compiler has begun
        monkeypatch.setattr(compiler, "COMPILE_SECONDS", seconds := 2 * seconds)
        events: list[Event] = []
        assert load(events) == "keras"
        check_replaced(
            events[1],
            f".*{compiles}: cannot compile kernel.c: no result after {seconds} s",
            changes_bits=False,
        )
    child = Path("/proc") / begun.read_text().strip()
    end = time.monotonic() + 30
    while child.exists() and " Z " not in (child / "stat").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("arguments", "windows"),
    [
        pytest.param([], 163, marks=pytest.mark.slow),
        pytest.param(["large"], 216, marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("processor", ["native", "x86-64-v3", *EMULATED])
@pytest.mark.usefixtures("kernel_for")
def test_the_sanitizers_find_nothing(
    processor: str, arguments: list[str], windows: int, tmp_path: Path
) -> None:
    """The tiles of a processor are not instrumented, the emulated ones are."""
    options = EMULATED.get(processor, [f"-march={processor}"])
    program = Path(__file__).with_name("run_kernel.c")
    checks = [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-I",
        str(compiler.SOURCE.parent),
    ]
    command = [*find_compiler(), "-std=gnu11", "-O1", "-g", "-Wno-psabi", *options, *checks]
    subprocess.run([*command, "-o", tmp_path / "run", program, "-lm"], check=True)
    done = subprocess.run(
        [tmp_path / "run", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{windows} windows, 144 steps of Muon\n"
