"""Dropout masks that cost a quarter of the usual random numbers.

One draw of 32 bits decides about four values, each with 8 of its bits: random numbers, not products, are what
dropout costs on a CPU.
"""

import keras
import tensorflow as tf

from charlm.training.recurrence import Tensor

LEVELS = 256
"""A rate is rounded to a multiple of 1 / LEVELS."""


def dropout_mask(shape: tuple[int, ...], rate: float, seed: keras.random.SeedGenerator) -> Tensor:
    """Return what dropout multiplies values with: 0 with probability `rate`, else 1 / (1 - rate); float32.

    (Srivastava et al. 2014, scaled in training.) Each call draws anew from `seed`.
    """
    dropped = min(round(rate * LEVELS), LEVELS - 1)
    count = tf.math.reduce_prod(shape)
    words = tf.random.stateless_uniform([-(-count // 4)], seed.next(), None, None, tf.int32)
    levels = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count]
    kept = tf.cast(tf.reshape(levels, shape) >= dropped, tf.float32)
    return kept * (LEVELS / (LEVELS - dropped))
