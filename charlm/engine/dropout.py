"""Dropout masks that need a quarter of the usual random numbers.

On a CPU, drawing random numbers is what makes dropout slow, not multiplying by the mask. So one draw of 32 bits decides
about four values, each from 8 of its bits.
"""

import keras
import tensorflow as tf

from charlm.engine.recurrence import Tensor

LEVELS = 256
"""A rate is rounded to a multiple of 1 / LEVELS."""


def dropout_mask(shape: tuple[int, ...], rate: float, seed: keras.random.SeedGenerator) -> Tensor:
    """Return a mask that is 0 with probability `rate`, otherwise 1 / (1 - rate).

    Srivastava et al. 2014, scaled in training instead of in prediction.

    Args:
        shape: The shape of the mask; a size may be a scalar tensor.
        rate: The probability of 0, from 0 to 1; it is rounded to a multiple of 1 / LEVELS below 1.
        seed: The random generator; every call advances it.

    Returns:
        float32 of the given shape.

    """
    dropped = min(round(rate * LEVELS), LEVELS - 1)
    count = tf.math.reduce_prod(shape)
    words = tf.random.stateless_uniform([-(-count // 4)], seed.next(), None, None, tf.int32)
    levels = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count]
    kept = tf.cast(tf.reshape(levels, shape) >= dropped, tf.float32)
    return kept * (LEVELS / (LEVELS - dropped))
