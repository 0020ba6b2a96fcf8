"""How TensorFlow and Keras start, whatever the user's settings of Keras are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from charlm.engines import factory
from charlm.hardware import core_count

SHOW = """
from charlm.engines import factory
factory.start()
from keras import config
print(config.backend(), config.floatx(), config.dtype_policy().name)
"""
UNWANTED = {"floatx": "float16", "backend": "jax"}


def python(program: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program."""
    env = {**os.environ, **environment}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


@pytest.mark.slow
def test_backend_and_number_format_of_the_user_have_no_effect(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(json.dumps(UNWANTED), encoding="utf-8")
    result = python(SHOW, KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path))
    assert result.stdout == "tensorflow float32 float32\n", result.stderr


@pytest.mark.slow
def test_training_uses_float32_after_keras_has_used_another_number_format() -> None:
    program = f"""
import keras, numpy
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float16")
keras.layers.SimpleRNN(2)(numpy.ones((1, 3, 1), "float32"))
import charlm
print(charlm.train(recipe="tiny", overrides="training.steps=20", on_event=print).reason)
{SHOW}
"""
    result = python(program, KERAS_BACKEND="tensorflow")
    *events, reason, formats = result.stdout.splitlines()
    assert any("training will be slower" in event for event in events)
    assert reason == "all steps done"
    assert formats == "tensorflow float32 float32"


def test_each_operation_has_a_thread_and_each_core_an_operation() -> None:
    assert tf.config.threading.get_intra_op_parallelism_threads() == 1
    assert tf.config.threading.get_inter_op_parallelism_threads() == core_count()


def test_the_slow_optimizer_of_graphs_is_switched_off() -> None:
    factory.start()
    assert tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"] is True
