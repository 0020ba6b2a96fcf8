"""What `charlm bench` measures of training: charlm's step, stock Keras, PyTorch, and TensorFlow's bare product.

    python -m charlm.training.contenders NAME ARGUMENTS

runs one of them as `charlm.contenders` does; the frameworks are imported inside, since each has the process to
itself. The three networks are the same but for the input, which charlm looks up in the kernel and the others in an
embedding; a step is forwards, backwards, the gradient clipped to a norm of 1, and Adam.

Axes: B batch, T time, V vocabulary, H units, K steps in one call.
"""

import os

import numpy as np
from numpy.typing import NDArray

from charlm.contenders import Figures, answer, per_second

EMBEDDING = 64
LEARNING_RATE = 1e-3
CHAIN = 32  # products in one call, so that calling costs nothing


def charlm(
    *,
    units: int,
    layers: int,
    vocabulary: int,
    batch: int,
    time: int,
    repetitions: int,
    seconds: float,
    precision: str = "float32",
) -> Figures:
    """Measure characters per second of the step that `charlm train` takes, as many steps a call as by default."""
    from charlm.training import runtime

    cores = runtime.start()
    from charlm.batches import Batches
    from charlm.config import Config, ModelConfig, OptimizerConfig, TrainingConfig
    from charlm.training.model import build_model, zero_state
    from charlm.training.optimizer import build_optimizer
    from charlm.training.step import compile_steps

    settings = TrainingConfig(steps=1, optimizer=OptimizerConfig(name="adam", learning_rate=LEARNING_RATE))
    config = Config(model=ModelConfig(layers=layers, units=units), training=settings)
    model = build_model(config, vocabulary, precision=precision)
    optimizer = build_optimizer(settings.optimizer)
    optimizer.build(model.trainable_variables)
    cut = Batches(length=batch * time + 1, batch_size=batch, sequence_length=time, seed=0)
    take = compile_steps(model, optimizer, cut, clip_norm=1.0, parts=cores)
    windows = _random_ids(vocabulary, settings.steps_per_call, time + 1, batch)
    rates = np.full(len(windows), LEARNING_RATE, np.float32)
    state = zero_state(model, batch)

    def run(steps: int) -> None:
        """Take that many steps, as many in a call as training does."""
        nonlocal state
        for first in range(0, steps, len(windows)):
            results = take(windows[: steps - first], state, rates[: steps - first])
            results.losses.numpy()
            state = results.state

    name = "charlm" if precision == "float32" else f"charlm_{precision}"
    return {name: batch * time * per_second(run, repetitions=repetitions, seconds=seconds)}


def keras(
    *, units: int, layers: int, vocabulary: int, batch: int, time: int, repetitions: int, seconds: float
) -> Figures:
    """Measure characters per second of `keras.layers.SimpleRNN` under `fit`, with TensorFlow as it comes."""
    os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)  # set by the package; read when TensorFlow is imported
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
    inputs, targets = _random_ids(vocabulary, 2, batch, time)
    window = tf.data.Dataset.from_tensors((inputs, targets))

    def run(steps: int) -> None:
        model.fit(window.repeat(steps), verbose=0)

    return {"keras": batch * time * per_second(run, repetitions=repetitions, seconds=seconds)}


def torch(
    *, units: int, layers: int, vocabulary: int, batch: int, time: int, repetitions: int, seconds: float
) -> Figures:
    """Measure characters per second of `torch.nn.RNN`, with PyTorch as it comes."""
    import torch
    from torch import nn

    embedding = nn.Embedding(vocabulary, EMBEDDING)
    rnn = nn.RNN(EMBEDDING, units, layers, batch_first=True)
    logits = nn.Linear(units, vocabulary)
    weights = list(nn.ModuleList([embedding, rnn, logits]).parameters())
    optimizer = torch.optim.Adam(weights, LEARNING_RATE)
    inputs, targets = torch.from_numpy(_random_ids(vocabulary, 2, batch, time)).long()

    def run(steps: int) -> None:
        """Take that many steps on the same windows."""
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            outputs, _ = rnn(embedding(inputs))
            nn.functional.cross_entropy(logits(outputs).flatten(0, 1), targets.flatten()).backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()

    return {"torch": batch * time * per_second(run, repetitions=repetitions, seconds=seconds)}


def tensorflow_product(*, rows: int, units: int, repetitions: int, seconds: float) -> Figures:
    """Measure operations per second of TensorFlow's product [rows, H] x [H, H], each shared by all cores."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    left = tf.constant(rng.standard_normal((rows, units), np.float32))
    right = tf.constant(rng.standard_normal((units, units), np.float32) / np.float32(np.sqrt(units)))

    @tf.function
    def multiply(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Multiply CHAIN times, each product [rows, H] going into the next."""
        for _ in range(CHAIN):
            left = tf.matmul(left, right)
        return left

    def run(turns: int) -> None:
        for _ in range(turns):
            multiply(left, right).numpy()

    products = CHAIN * per_second(run, repetitions=repetitions, seconds=seconds)
    return {"tensorflow_product": 2 * rows * units**2 * products}


def _random_ids(vocabulary: int, *shape: int) -> NDArray[np.int32]:
    return np.random.default_rng(0).integers(0, vocabulary, shape, np.int32)


if __name__ == "__main__":
    answer(charlm, keras, torch, tensorflow_product)
