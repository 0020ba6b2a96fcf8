"""How TensorFlow and Keras start: charlm sets what it needs, and the settings of the user do not change a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SHOW = """
import os, sys
from charlm.engine import runtime
runtime.start()
import keras
print(keras.config.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name)
print(os.environ["KERAS_BACKEND"], os.environ.get("KERAS_HOME"), "matplotlib" in sys.modules)
"""
UNWANTED = {
    "floatx": "float16",
    "epsilon": 0.5,
    "backend": "jax",
    "image_data_format": "channels_first",
}


def python(program: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program."""
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, check=False
    )


def test_the_settings_of_the_user_are_not_read_and_not_changed(tmp_path: Path) -> None:
    for file, variable in (
        (tmp_path / "keras.json", "KERAS_HOME"),
        (tmp_path / "home/.keras/keras.json", "HOME"),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(UNWANTED), encoding="utf-8")
        place = str(tmp_path if variable == "KERAS_HOME" else tmp_path / "home")
        before = [*tmp_path.rglob("*")]
        done = python(SHOW, KERAS_BACKEND="jax", **{variable: place})
        kept = place if variable == "KERAS_HOME" else os.environ.get("KERAS_HOME")
        assert done.stdout == f"tensorflow float32 1e-07 float32\njax {kept} False\n", done.stderr
        assert [*tmp_path.rglob("*")] == before


def test_a_program_that_has_used_tensorflow_with_another_number_format_trains_in_float32_with_its_threads() -> (
    None
):
    program = f"""
import keras, numpy
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float16")
keras.layers.SimpleRNN(2)(numpy.ones((1, 3, 1), "float32"))
import charlm
print(charlm.train(recipe="tiny", overrides="training.steps=20", on_event=print).reason)
{SHOW}
"""
    *said, reason, used, _ = python(program, KERAS_BACKEND="tensorflow").stdout.splitlines()
    assert "ThreadsKept()" in said
    assert (reason, used) == ("all steps done", "tensorflow float32 1e-07 float32")


def test_a_program_that_has_imported_keras_with_another_backend_is_told() -> None:
    done = python(
        f"import keras; keras.config.backend = lambda: 'jax'\n{SHOW}", KERAS_BACKEND="tensorflow"
    )
    assert (
        "CharlmError: KERAS_BACKEND: this program has imported Keras with the backend jax; "
        in done.stderr
    )
