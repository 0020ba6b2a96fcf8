"""TensorFlow starts here, with its threads laid out, before any test module imports it."""

from charlm.training import runtime

runtime.start()
