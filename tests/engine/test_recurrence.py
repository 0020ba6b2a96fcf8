"""The precision of the recurrence; `test_layers.py` compares its results and its gradient with Keras.

Axes: B batch, T time, H units. Tensors are float32.
"""

import keras
import numpy as np
import tensorflow as tf
from arrays import check_close

from charlm.engine.recurrence import multiply, scan

B, T, H = 3, 6, 8


def test_bfloat16_rounds_the_factors_of_a_product() -> None:
    product = multiply(tf.constant([[1 + 2**-9]]), tf.constant([[3.0]]), precision="bfloat16")
    assert product.dtype == tf.float32
    assert float(product[0, 0]) == 3


def test_bfloat16_changes_outputs_and_gradients_only_by_rounding() -> None:
    rng = np.random.default_rng(0)
    sizes = ((1.0, (T, B, H)), (0.3, (H, H)), (1.0, (B, H)))
    arguments = [tf.constant(scale * rng.standard_normal(shape), tf.float32) for scale, shape in sizes]
    results = []
    for precision in ("float32", "bfloat16"):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            outputs = scan(*arguments, activation=keras.activations.tanh, precision=precision)
            loss = tf.nn.l2_loss(outputs)
        results.append([outputs, *tape.gradient(loss, arguments)])
    exact, rounded = results
    check_close(rounded, exact, of_peak=0.03)
    assert {tensor.dtype for tensor in rounded} == {tf.float32}
    assert not any(np.array_equal(*pair) for pair in zip(exact, rounded, strict=True))
