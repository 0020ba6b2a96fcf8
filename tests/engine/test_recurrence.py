"""The recurrence and its own gradient, against TensorFlow's; `test_layers.py` compares whole layers with Keras.

Axes: B batch, T time, H units. Tensors are float32.
"""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from charlm.engine.recurrence import multiply, scan

B, T, H = 3, 6, 8


def normal(*shape: int, seed: int = 0) -> Any:
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def test_bfloat16_rounds_the_factors_of_a_product() -> None:
    product = multiply(tf.constant([[1 + 2**-9]]), tf.constant([[3.0]]), precision="bfloat16")
    assert product.dtype == tf.float32
    assert float(product[0, 0]) == 3


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_bfloat16_changes_outputs_and_gradients_only_by_rounding(activation: str) -> None:
    arguments = [normal(T, B, H), 0.3 * normal(H, H, seed=1), normal(B, H, seed=2)]
    results = []
    for precision in ("float32", "bfloat16"):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            outputs = scan(*arguments, activation=keras.activations.get(activation), precision=precision)
            loss = tf.nn.l2_loss(outputs)
        results.append([outputs, *tape.gradient(loss, arguments)])
    for exact, rounded in zip(*results, strict=True):
        assert rounded.dtype == tf.float32
        assert not np.array_equal(exact, rounded)
        np.testing.assert_allclose(rounded, exact, rtol=0, atol=0.03 * np.abs(exact).max())
