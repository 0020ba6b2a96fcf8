"""Start TensorFlow and set its threads before any test module imports it."""

from collections.abc import Iterator

import pytest

from charlm.engine import runtime

runtime.start()


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Run functions eagerly where a test needs no graph, because compiling takes longer."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
