"""C: the weights in model.bin, and run.c, which reads it and writes text. Nothing of the bundle becomes C code.

model.bin is little-endian. It begins with the bytes CHARLM-1 and ten int32: V, layers, H, the width of the input
(E, or V without an embedding), whether there is an embedding, whether there are skip connections, the number of the
activation, whether an id is a byte, and the unknown id and the end-of-text id (-1 = none). Then follow
the code point of each id, uint32 [V] (2^32 - 1 = reserved), and float32 matrices, row after row: the embedding [V, E]
if there is one; for each layer the kernel of the layer below [H, H] (none for layer 0), the kernel of the input
[V or E, H] if the layer reads it, the bias [H] (zeros if there is none) and the recurrent kernel [H, H]; the kernel
[features, V] and the bias [V] of the logits.

Axes: V vocabulary, E embedding, H units.
"""

from collections.abc import Iterator

import numpy as np

from charlm.formats.programs import read_shipped
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats
from charlm.text.vocabulary import Vocabulary

PROGRAM, WEIGHTS = "run.c", "model.bin"
MAGIC = b"CHARLM-1"
RESERVED = 0xFFFFFFFF
ACTIVATION_NUMBERS = {"tanh": 0, "relu": 1, "sigmoid": 2, "linear": 3}
"""As `activate` of run.c has them."""


def export_c(bundle: Bundle) -> dict[str, bytes]:
    """Return run.c and model.bin."""
    return {PROGRAM: read_shipped(PROGRAM).encode(), WEIGHTS: _weights(bundle)}


def _weights(bundle: Bundle) -> bytes:
    shape, vocabulary = bundle.architecture, bundle.vocabulary
    numbers = [
        shape.vocabulary_size,
        shape.layers,
        shape.units,
        shape.embedding or shape.vocabulary_size,
        shape.embedding is not None,
        shape.skip_connections,
        ACTIVATION_NUMBERS[shape.activation],
        vocabulary.level == "byte",
        -1 if vocabulary.unknown_id is None else vocabulary.unknown_id,
        -1 if vocabulary.end_of_text_id is None else vocabulary.end_of_text_id,
    ]
    matrices = b"".join(matrix.astype("<f4").tobytes() for matrix in _matrices(bundle))
    return MAGIC + np.array(numbers, "<i4").tobytes() + _code_points(vocabulary) + matrices


def _code_points(vocabulary: Vocabulary) -> bytes:
    return np.array([RESERVED if c is None else ord(c) for c in vocabulary.characters], "<u4").tobytes()


def _matrices(bundle: Bundle) -> Iterator[Floats]:
    parameters = bundle.parameters
    if parameters.embedding is not None:
        yield parameters.embedding
    for layer in parameters.layers:
        yield layer.kernel  # the rows of the layer below come first
        yield np.zeros(layer.units, np.float32) if layer.bias is None else layer.bias
        yield layer.recurrent_kernel
    yield parameters.logits_kernel
    yield parameters.logits_bias
