"""How TensorFlow and Keras start: charlm sets what it needs, and the settings of the user do not change a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SHOW = """
import os
from charlm.engine import runtime
runtime.start()
import keras
print(keras.config.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name)
print(os.environ.get("KERAS_BACKEND"), os.environ.get("KERAS_HOME"))
"""
SETTINGS = {
    "unwanted": {"floatx": "float16", "epsilon": 0.5, "backend": "jax", "image_data_format": "channels_first"},
    "unknown": {"floatx": 7, "epsilon": 1, "backend": "abacus", "image_data_format": []},
}


def python(program: str, **environment: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a program."""
    env = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize(("kind", "variable"), [("unwanted", "HOME"), ("unknown", "KERAS_HOME")])
def test_the_settings_of_the_user_are_not_read_and_not_changed(kind: str, variable: str, tmp_path: Path) -> None:
    file = tmp_path / ("keras.json" if variable == "KERAS_HOME" else ".keras/keras.json")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(SETTINGS[kind]), encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    environment: dict[str, str | Path] = {"KERAS_BACKEND": "jax", variable: tmp_path}
    done = python(SHOW, **environment)
    assert done.returncode == 0, done.stderr
    used, kept = done.stdout.splitlines()
    assert used == "tensorflow float32 1e-07 float32"
    assert kept == f"jax {tmp_path if variable == 'KERAS_HOME' else os.environ.get('KERAS_HOME')}"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_nothing_is_written_to_the_home_of_the_user_and_matplotlib_is_imported_only_by_the_user(tmp_path: Path) -> None:
    show = "import sys\nprint('matplotlib' in sys.modules, os.listdir())\nimport matplotlib\nprint(matplotlib.__name__)"
    done = python(f"import os; os.chdir({str(tmp_path)!r})\n{SHOW}\n{show}", HOME=tmp_path)
    assert done.stdout.splitlines()[2:] == ["False []", "matplotlib"]


def test_a_program_that_has_imported_keras_with_another_backend_is_told() -> None:
    done = python(f"import keras; keras.config.backend = lambda: 'jax'\n{SHOW}", KERAS_BACKEND="tensorflow")
    assert done.returncode == 1
    assert "CharlmError: KERAS_BACKEND: found jax, with which this program has imported Keras; " in done.stderr


def test_a_program_that_has_used_tensorflow_with_another_number_format_trains_in_float32_with_its_threads() -> None:
    program = f"""
import keras, numpy
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float16")
keras.layers.SimpleRNN(2)(numpy.ones((1, 3, 1), "float32"))
import charlm
print(charlm.train(recipe="tiny", overrides="training.steps=20", say=print).reason)
{SHOW}
"""
    *said, reason, used, _ = python(program, KERAS_BACKEND="tensorflow").stdout.splitlines()
    assert said[0] == "TensorFlow was used before in this program and keeps its threads: training is slower"
    assert reason == "all steps done"
    assert used == "tensorflow float32 1e-07 float32"
