"""The workloads of `charlm bench` in TensorFlow: charlm's step, stock Keras, and TensorFlow's bare product.

Each function prepares a workload and returns a function that runs it for a number of turns; `charlm.bench.workloads`
measures it. The networks are the same except for the input, which charlm looks up in the kernel and Keras in an
embedding. A step is the forward and the backward pass, clipping the gradient to a norm of 1, and Adam.

Axes: B batch, T time, V vocabulary, H units.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config, ModelConfig, OptimizerConfig, TrainingConfig
from charlm.text.batches import Batches

EMBEDDING = 64
LEARNING_RATE = 1e-3
LARGE = 4096  # rows and columns of a product that runs at the peak of a machine
CHAIN = 32  # products in one call, so that the call costs little

Run = Callable[[int], object]
"""Takes a number of turns."""


def train_charlm(*, units: int, layers: int, vocabulary: int, batch: int, time: int, precision: str) -> Run:
    """Prepare the step that `charlm train` takes, with the default number of steps in one call; a turn is a step.

    Args:
        units: H.
        layers: The number of layers, 1 or more.
        vocabulary: V.
        batch: B, the windows in a step.
        time: T, the characters in a window.
        precision: float32 or bfloat16.

    """
    from charlm.engine import runtime

    runtime.start()
    from charlm.engine.keras_engine import KerasEngine
    from charlm.hardware import core_count
    from charlm.runs.run import default_parts

    settings = TrainingConfig(
        steps=1,
        optimizer=OptimizerConfig(name="adam", learning_rate=LEARNING_RATE),
        clip_norm=1.0,
        parts=default_parts(batch, cores=core_count()),
    )
    config = Config(model=ModelConfig(layers=layers, units=units), training=settings)
    batches = Batches(length=batch * time + 1, batch_size=batch, sequence_length=time, seed=0)
    engine = KerasEngine(config, batches, vocabulary_size=vocabulary, precision=precision)
    windows = random_ids(vocabulary, settings.steps_per_call, time + 1, batch)
    rates = np.full(len(windows), LEARNING_RATE, np.float32)

    def run(turns: int) -> None:
        """Take steps, as many in a call as training does."""
        for first in range(0, turns, len(windows)):
            engine.take_steps(windows[: turns - first], rates[: turns - first], reset_state=False)

    return run


def train_keras(*, units: int, layers: int, vocabulary: int, batch: int, time: int) -> Run:
    """Prepare `fit` of `keras.layers.SimpleRNN`, with TensorFlow's own settings; a turn is a step.

    The arguments are those of `train_charlm`.
    """
    import keras
    import tensorflow as tf

    model = keras.Sequential(
        [
            keras.Input((time,), batch_size=batch, dtype="int32"),
            keras.layers.Embedding(vocabulary, EMBEDDING),
            *(keras.layers.SimpleRNN(units, return_sequences=True) for _ in range(layers)),
            keras.layers.Dense(vocabulary),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0), loss)
    inputs, targets = random_ids(vocabulary, 2, batch, time)
    window = tf.data.Dataset.from_tensors((inputs, targets))
    return lambda turns: model.fit(window.repeat(turns), shuffle=False, verbose=0)


def multiply_in_tensorflow(*, rows: int, units: int) -> Run:
    """Prepare TensorFlow's product [rows, H] x [H, H], float32, on all cores; a turn is CHAIN products."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    left = tf.constant(rng.standard_normal((rows, units), np.float32))
    right = tf.constant(rng.standard_normal((units, units), np.float32) / np.float32(np.sqrt(units)))

    @tf.function
    def multiply(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Multiply CHAIN times; each product [rows, H] is the left factor of the next."""
        for _ in range(CHAIN):
            left = tf.matmul(left, right)
        return left

    def run(turns: int) -> None:
        for _ in range(turns):
            multiply(left, right).numpy()

    return run


def multiply_large(*, precision: str) -> tuple[Run, int]:
    """Prepare a product of LARGE rows and columns, whose rows are shared by the cores as a batch is in training.

    oneDNN's kernels are those of training, also if ONEDNN_MAX_CPU_ISA holds them to older instructions.

    Args:
        precision: float32 or bfloat16.

    Returns:
        What runs the product, and the number of its operations.

    """
    from charlm.engine import runtime

    runtime.start()
    import tensorflow as tf

    from charlm.hardware import core_count

    cores = core_count()
    rng = np.random.default_rng(0)
    parts = tf.constant(rng.standard_normal((cores, max(1, LARGE // cores), LARGE), np.float32))
    right = tf.constant(rng.standard_normal((LARGE, LARGE), np.float32))
    parts, right = tf.cast(parts, precision), tf.cast(right, precision)

    @tf.function(autograph=False)
    def multiply(parts: tf.Tensor, right: tf.Tensor) -> list[tf.Tensor]:
        """Multiply each part; return a number of each product, so that all are computed and none is copied."""
        return [tf.matmul(part, right)[0, 0] for part in tf.unstack(parts)]

    def run(turns: int) -> None:
        """Multiply, `turns` times, and wait for the products."""
        for _ in range(turns):
            for number in multiply(parts, right):
                number.numpy()

    return run, 2 * parts.shape[0] * parts.shape[1] * LARGE**2


def random_ids(vocabulary: int, *shape: int) -> NDArray[np.int32]:
    """Return random ids from a fixed seed: int32 of the given shape, 0 to V - 1."""
    return np.random.default_rng(0).integers(0, vocabulary, shape, np.int32)
