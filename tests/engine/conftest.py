"""TensorFlow starts here, with its threads set, before any test module imports it."""

from collections.abc import Iterator

import pytest

from charlm.engine import runtime

runtime.start()


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Run compiled functions eagerly, for tests of what they compute: that takes less time than to compile them."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
