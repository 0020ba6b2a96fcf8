"""kernel.c, compared with float64 on this processor and on emulated ones.

Axes: T time, R rows, V characters, H units, L layers.
"""

import functools
import itertools
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close
from engines.kernels import MACROS, Kernels, emulation_options
from numpy.typing import NDArray

from charlm.config.schema import ACTIVATIONS
from charlm.core.architecture import Architecture
from charlm.engines import compiler
from charlm.engines.kernel import CompiledNetwork, Kernel
from charlm.hardware import find_compiler

Shape = tuple[int, int, int, int, int]
SHAPES: list[Shape] = [
    (1, 1, 1, 1, 2),
    (5, 1, 2, 7, 9),
    (3, 7, 3, 16, 5),
    (4, 13, 2, 333, 65),
    (9, 60, 4, 40, 96),
    (2, 3, 1, 5, 5000),
]
"""T, R, L, H, V; some are no multiple of a block, a panel or a tile."""
FUNCTIONS: dict[str, Any] = {
    "tanh": tf.tanh,
    "relu": tf.nn.relu,
    "linear": tf.identity,
    "sigmoid": tf.sigmoid,
}


def slow(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


KERNELS = ["native", *slow([*MACROS, "ziglang"])]
WITH_BFLOAT16 = ["native", *slow(["bfloat16", "tiles", "refused tiles", "ziglang"])]
STRUCTURES: list[dict[str, Any]] = [
    {"activation": "tanh", "has_masks": True, "is_soft": True},
    {"activation": "sigmoid", "skips": False, "temperature": 0.75},
    {"activation": "relu", "is_soft": True, "temperature": 0.75},
    {"activation": "linear", "skips": False, "has_masks": True},
]
"""Each value of each field of a case."""
CASES = [*itertools.product(SHAPES, STRUCTURES)]
for activation, skips, has_masks in itertools.product(ACTIVATIONS, [False, True], [False, True]):
    fields = {"activation": activation, "skips": skips, "has_masks": has_masks}
    CASES.append((SHAPES[2], fields))


def rounded(factor: Any) -> Any:
    """Round a factor of a product to bfloat16, without an effect on its gradient."""
    return factor + tf.stop_gradient(tf.cast(tf.cast(factor, tf.bfloat16), tf.float64) - factor)


Results = tuple[Any, Any, list[Any]]
"""The last state, the loss and the gradients."""


def random_array(
    rng: np.random.Generator,
    *shape: int,
    scale: float = 1.0,
) -> NDArray[np.float32]:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def random_mask(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return ((rng.random(shape) > 0.3) / 0.7).astype(np.float32)


def make_ties(matrix: NDArray[np.float32]) -> None:
    """Put every second column halfway between two bfloat16 numbers; the even one is nearest."""
    bits = matrix.view(np.uint32)
    bits[:, ::2] = bits[:, ::2] & 0xFFFF0000 | 0x8000


@dataclass
class Case:
    """A window, the weights of a network, and the arguments of `Kernel.run` for it."""

    shape: Shape
    activation: str = "tanh"
    skips: bool = True
    has_masks: bool = False
    is_soft: bool = False
    temperature: float = 1.0
    bfloat16: bool = False

    def __post_init__(self) -> None:
        _, _, layers, units, characters = self.shape
        rng = np.random.default_rng(0)
        self.weights = self._draw_weights(rng)
        self.architecture = Architecture(
            characters, layers, units, None, True, self.activation, self.skips
        )
        self.options = self._draw_options(rng)

    def _draw_weights(self, rng: np.random.Generator) -> list[NDArray[Any] | None]:
        _, _, layers, units, characters = self.shape
        scale = 0.7 / units**0.5
        weights: list[NDArray[Any] | None] = []
        for layer in range(layers):
            is_last = layer == layers - 1
            reads_characters = self.skips or layer == 0
            table = random_array(
                rng,
                characters if reads_characters else 1,
                units,
                scale=0.3,
            )
            recurrent = random_array(
                rng,
                units,
                units,
                scale=scale,
            )
            above = None if is_last else random_array(rng, units, units, scale=scale)
            logits = None
            if self.skips or is_last:
                logits = random_array(
                    rng,
                    units,
                    characters,
                    scale=units**-0.5,
                )
            weights += [table, recurrent, above, logits]
            if self.bfloat16:
                for matrix in (recurrent, above, logits):
                    if matrix is not None:
                        make_ties(matrix)
        return [*weights, random_array(rng, characters)]

    def _draw_options(self, rng: np.random.Generator) -> dict[str, Any]:
        time, rows, layers, units, characters = self.shape
        options: dict[str, Any] = {
            "window": rng.integers(0, characters, (time + 1, rows), np.int32),
            "state": random_array(rng, layers, rows, units, scale=0.5),
            "share": 0.5,
            "temperature": self.temperature,
        }
        if self.has_masks:
            features = units * layers if self.skips else units
            masks = options["masks"] = {
                "recurrent_mask": random_mask(rng, layers, rows, units),
                "output_mask": random_mask(rng, time, rows, features),
            }
            if layers > 1:
                masks["layer_mask"] = random_mask(rng, layers - 1, rows, units)
        if self.is_soft:
            soft = rng.random((time, rows, characters))
            options["soft"] = (soft / soft.sum(-1, keepdims=True)).astype(np.float32)
            options["soft_weight"] = 0.6
        return options

    def compiled(self, kernel: Kernel) -> CompiledNetwork:
        return CompiledNetwork(kernel, self.architecture, self.weights, bfloat16=self.bfloat16)

    def computed(self, kernel: Kernel) -> Results:
        """Return the results that the kernel computes."""
        if self.bfloat16 and not kernel.has_bfloat16:
            pytest.skip("this processor does not multiply bfloat16")
        network = self.compiled(kernel)
        slots = [None if weight is None else np.full_like(weight, 9) for weight in self.weights]
        last, losses = network.run(gradients=slots, **self.options)
        gradients = [gradient for gradient in slots if gradient is not None]
        return last, self.options["share"] * float(losses.mean(dtype=float)), gradients

    def expected(self) -> Results:
        """Return the results of the equations of kernel.c in float64, differentiated by TensorFlow.

        The names are those of the equations: h the states, o, m and n the masks of the outputs, of
        the states and between layers, z the logits, r the rounding.
        """
        time, rows, layers, units, characters = self.shape
        slots = [
            None if weight is None else tf.Variable(weight.astype(float)) for weight in self.weights
        ]
        weights = [weight for weight in slots if weight is not None]
        tables, matrices, above, logits = (slots[first:-1:4] for first in range(4))
        ones = np.ones((layers, rows, units))
        masks = self.options.get("masks", {})
        m = masks.get("recurrent_mask", ones).astype(float)
        n = masks.get("layer_mask", ones).astype(float)
        o = masks.get("output_mask", np.ones(time)).astype(float)
        r = rounded if self.bfloat16 else tf.identity
        h = [*self.options["state"].astype(float)]
        window = self.options["window"]
        share = self.options["share"] / (time * rows)
        loss = 0.0
        minimised = 0.0
        with tf.GradientTape() as tape:
            output = tf.concat([matrix for matrix in logits if matrix is not None], 0)
            for step in range(time):
                ids = window[step]
                for layer in range(layers):
                    row = ids if self.skips or not layer else np.zeros_like(ids)
                    a = tf.gather(tables[layer], row) + r(h[layer] * m[layer]) @ r(matrices[layer])
                    if layer:
                        a += r(h[layer - 1] * n[layer - 1]) @ r(above[layer - 1])
                    h[layer] = FUNCTIONS[self.activation](a)
                features = tf.concat(h, -1) if self.skips else h[-1]
                z = r(features * o[step]) @ r(output) + slots[-1]
                hard = np.eye(characters)[window[step + 1]]
                targets = hard
                if self.is_soft:
                    targets = 0.4 * hard + 0.6 * self.options["soft"][step].astype(float)
                loss -= tf.reduce_sum(hard * tf.nn.log_softmax(z)) * share
                log_probabilities = tf.nn.log_softmax(z / self.temperature)
                minimised -= tf.reduce_sum(targets * log_probabilities) * share
        gradients = tape.gradient(minimised, weights)
        arrays = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
        return np.array(h), np.float64(loss), arrays


@functools.cache
def expected(**fields: Any) -> Results:
    """Return the expected results of a case, which are the same for all processors."""
    return Case(**fields).expected()


@pytest.mark.parametrize("processor", KERNELS)
@pytest.mark.parametrize(("shape", "fields"), CASES, ids=str)
def test_results_equal_float64(
    processor: str,
    shape: Shape,
    fields: dict[str, Any],
    kernel_for: Kernels,
) -> None:
    case = Case(shape, **fields)
    last, loss, gradients = case.computed(kernel_for(processor))
    expected_last, expected_loss, expected_gradients = expected(**asdict(case))
    check_close([last, loss], [expected_last, expected_loss], atol=1e-4, rtol=1e-4)
    check_close(gradients, expected_gradients, of_peak=1e-4)


def one_layer(
    kernel: Kernel,
    activation: str,
    table: Any,
    bias: Any,
    *,
    recurrent: float = 0.0,
) -> CompiledNetwork:
    """Return a layer without logits kernel; every character adds the table to its input."""
    units = len(table)
    characters = len(bias)
    shape = Architecture(
        characters,
        1,
        units,
        None,
        True,
        activation,
        False,
    )
    weights: list[NDArray[Any] | None] = [
        np.tile(np.float32(table), (characters, 1)),
        np.full((units, units), recurrent, np.float32),
        None,
        np.zeros((units, characters), np.float32),
        np.array(bias, np.float32),
    ]
    return CompiledNetwork(kernel, shape, weights)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("processor", KERNELS)
def test_activations_are_accurate_for_all_numbers(
    processor: str,
    activation: str,
    kernel_for: Kernels,
) -> None:
    sums = np.concatenate([np.linspace(-50, 50, 201), np.linspace(-10, 10, 401)])
    network = one_layer(kernel_for(processor), activation, sums, [0.0, 0.0])
    ids = np.zeros((2, 1), np.int32)
    state = np.zeros((1, 1, len(sums)), np.float32)
    (last,), _ = network.run(ids, state)
    check_close([last[0]], [FUNCTIONS[activation](np.float32(sums).astype(float))], atol=5e-7)


@pytest.mark.parametrize(
    "bias",
    [[-200, -203, -400], [1e4, 9.995e3, 0], [0, 90, 30], [-15, 0, -16]],
    ids=["negative", "large", "far apart", "small shares"],
)
@pytest.mark.parametrize("processor", KERNELS)
def test_the_loss_is_accurate_for_all_logits(
    processor: str,
    bias: list[float],
    kernel_for: Kernels,
) -> None:
    network = one_layer(kernel_for(processor), "tanh", [0.0], bias)
    ids = np.array([[0, 0, 0], [0, 1, 2]], np.int32)
    state = np.zeros((1, 3, 1), np.float32)
    _, losses = network.run(ids, state)
    logits = np.array(bias) - max(bias)
    expected = np.log(np.exp(logits).sum()) - logits
    check_close([losses[0]], [expected], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("count", [1, 4096, 10_000])
@pytest.mark.parametrize("processor", KERNELS)
def test_the_norm_equals_float64(
    processor: str,
    count: int,
    kernel_for: Kernels,
) -> None:
    numbers = np.random.default_rng(1).standard_normal(count).astype(np.float32)
    expected = np.linalg.norm(numbers.astype(float))
    assert kernel_for(processor).norm(numbers) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("state", "weight", "expected"),
    [
        pytest.param(1e-20, 1e10, 1e-10, id="normal"),
        pytest.param(1e-40, 1e10, 0, id="denormal input"),
        pytest.param(1e-20, 1e-20, 0, id="denormal result"),
    ],
)
def test_denormal_numbers_count_as_zero(
    state: float,
    weight: float,
    expected: float,
    kernel_for: Kernels,
) -> None:
    network = one_layer(kernel_for("native"), "linear", [0.0], [0.0, 0.0], recurrent=weight)
    ids = np.zeros((2, 1), np.int32)
    before = np.full((1, 1, 1), state, np.float32)
    after, _ = network.run(ids, before)
    assert after.tolist() == [[[pytest.approx(expected)]]]
    assert (after == 0).all() == (expected == 0)


def test_a_call_does_not_change_how_denormal_numbers_are_computed(kernel_for: Kernels) -> None:
    Case(SHAPES[0]).computed(kernel_for("native"))
    assert np.float32(1e-40) * np.float32(0.5) > 0


TILED: list[Shape] = [(3, rows, 2, 40, 33) for rows in (8, 15, 16, 17, 24, 32, 33, 48)]
"""Windows that fill tiles of 16 rows differently."""


@pytest.mark.parametrize("shape", [*SHAPES[:-1], *TILED], ids=str)
@pytest.mark.parametrize("processor", WITH_BFLOAT16)
def test_bfloat16_only_rounds_factors(
    shape: Shape,
    processor: str,
    kernel_for: Kernels,
) -> None:
    case = Case(shape, has_masks=True, bfloat16=True)
    last, loss, gradients = case.computed(kernel_for(processor))
    expected_last, expected_loss, expected_gradients = expected(**asdict(case))
    # Float64 rounds a few numbers the other way: those nearly halfway between two bfloat16 numbers.
    assert np.abs(last - expected_last).mean() < 3e-5
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    check_close(gradients, expected_gradients, of_peak=0.01)


PRECISIONS = [
    ("native", False),
    ("native", True),
    *(pytest.param(name, False, marks=pytest.mark.slow) for name in MACROS),
    pytest.param("bfloat16", True, marks=pytest.mark.slow),
    pytest.param("tiles", True, marks=pytest.mark.slow),
]
"""Processors, and whether they multiply bfloat16."""


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("processor", "bfloat16"), PRECISIONS)
def test_nan_stays_in_its_row(
    processor: str,
    bfloat16: bool,
    activation: str,
    kernel_for: Kernels,
) -> None:
    case = Case((3, 2, 1, 5, 4), activation, bfloat16=bfloat16)
    case.options["state"][0, 1, 2] = np.nan
    last, loss, gradients = case.computed(kernel_for(processor))
    assert np.isnan(last[0, 1]).all()
    assert not np.isnan(last[0, 0]).any()
    assert np.isnan(loss)
    assert all(np.isnan(gradient).any() for gradient in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("processor", MACROS)
def test_a_library_knows_whether_it_may_use_tiles(processor: str, kernel_for: Kernels) -> None:
    assert kernel_for(processor).has_tiles == (processor == "tiles")


@pytest.mark.parametrize("rows", [slice(0, 1), slice(3, 20), slice(7, 40)], ids=str)
@pytest.mark.parametrize(("processor", "bfloat16"), PRECISIONS)
def test_rows_are_computed_independently(
    processor: str,
    bfloat16: bool,
    rows: slice,
    kernel_for: Kernels,
) -> None:
    kernel = kernel_for(processor)
    whole = Case((3, 40, 2, 130, 9), bfloat16=bfloat16)
    part = replace(whole)
    for name in ("window", "state"):
        part.options[name] = np.ascontiguousarray(whole.options[name][:, rows])
    last, _, _ = part.computed(kernel)
    whole_last, _, _ = whole.computed(kernel)
    np.testing.assert_array_equal(last, whole_last[:, rows])


@pytest.mark.parametrize(
    ("arguments", "windows"),
    [
        pytest.param([], 163, marks=pytest.mark.slow, id="small"),
        pytest.param(["large"], 216, marks=pytest.mark.nightly, id="large"),
    ],
)
@pytest.mark.parametrize("processor", ["native", "x86-64-v3", *MACROS])
@pytest.mark.usefixtures("kernel_for")
def test_the_sanitizers_report_nothing(
    processor: str,
    arguments: list[str],
    windows: int,
    tmp_path: Path,
) -> None:
    """Check with emulated processors, too, because tiles of a real one are not instrumented."""
    options = emulation_options(processor) if processor in MACROS else [f"-march={processor}"]
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    include = ["-I", str(compiler.SOURCE.parent)]
    command = [*find_compiler(), "-std=gnu11", "-O1", "-g", "-Wno-psabi"]
    command += [*options, *checks, *include]
    program = Path(__file__).with_name("run_kernel.c")
    subprocess.run([*command, "-o", tmp_path / "run", program, "-lm"], check=True)
    process = subprocess.run(
        [tmp_path / "run", *arguments], capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == f"{windows} windows, 180 steps of an optimizer\n"
