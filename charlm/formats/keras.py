"""Keras: a `.keras` file of stock layers, which `charlm.engine.keras_file` writes; TensorFlow is imported for it."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from charlm.formats.programs import run_python
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats

FILE = "model.keras"
USAGE = """```python
import keras

model = keras.models.load_model("model.keras")
states = [keras.ops.zeros((1, {units}))] * {layers}  # [B, H] for each layer
logits, *states = model([keras.ops.array([[0]]), *states])  # ids [B, T] -> logits [B, T, V]
```"""
"""For the model card, by `str.format` with `layers` and `units`."""


def export_keras(bundle: Bundle) -> dict[str, bytes]:
    """Return the `.keras` file of a network; every activation of charlm is one of Keras."""
    from charlm.engine import runtime

    runtime.start()
    from charlm.engine.keras_file import write_keras_file

    return {FILE: write_keras_file(bundle)}


def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
    """Return the logits that Keras computes after each of the ids, integers [T]: float32 [T, V]."""
    return run_python(_PROGRAM, folder, ids, needs=["keras", "tensorflow"])


_PROGRAM = f"""
import os
os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
import keras
model = keras.models.load_model(f"{{folder}}/{FILE}")
states = [np.zeros((1, int(state.shape[1])), np.float32) for state in model.inputs[1:]]
logits = model.predict([ids[None].astype("int32"), *states], verbose=0)[0][0]
"""
