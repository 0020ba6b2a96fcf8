"""How machines share a batch, shown on one: which rows are whose.

Machines that are connected need several processes: tests/faults/test_cluster.py.
"""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tensorflow as tf

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.engine.distribution import Machine, devices_for
from charlm.engine.keras_engine import KerasEngine
from charlm.errors import CharlmError
from charlm.text.batches import Batches


def make(machines: int, *, parts: int, batch_size: int = 6) -> KerasEngine:
    """Make the engine of the first of some machines, which is not connected with the others."""
    machine = Machine()
    machine.count = machines
    config = load_config(find_recipe("tiny"), overrides=[f"training.parts={parts}"])
    batches = Batches(length=1000, batch_size=batch_size, sequence_length=4, seed=1)
    return KerasEngine(config, batches, vocabulary_size=5, precision="float32", machine=machine)


def test_a_machine_reads_the_rows_of_its_parts() -> None:
    assert make(2, parts=4).rows == slice(0, 4)  # parts of 2, 2, 1 and 1 rows


@pytest.mark.parametrize(("parts", "batch_size"), [(2, 6), (4, 2)])
def test_more_machines_than_parts_or_rows_are_refused(parts: int, batch_size: int) -> None:
    with pytest.raises(CharlmError, match=f"{batch_size} windows in {parts} parts; 3 workers need at least 3"):
        make(3, parts=parts, batch_size=batch_size)


PROGRAM = """
import hashlib, json, sys
import tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from charlm.engine import runtime
runtime.start()
import numpy as np
from charlm.config.schema import Config
from charlm.engine.distribution import Machine
from charlm.engine.keras_engine import KerasEngine
from charlm.text.batches import Batches
dropouts = {"layer_dropout": 0.2, "rnn": {"dropout": 0.1, "recurrent_dropout": 0.1}}
model = {"layers": 2, "units": 12, "skip_connections": True, **dropouts}
training = {"steps": 1, "parts": 3, "average_momentum": 0.9, "state_reset": 0.2, "optimizer": {"name": "muon"}}
config = Config.model_validate({"model": model, "training": training})
batches = Batches(length=1000, batch_size=11, sequence_length=7, seed=0)
windows = np.random.default_rng(0).integers(0, 9, (6, 8, 11), dtype=np.int32)  # [K, T + 1, B]
for devices in ((), ("CPU:0", "CPU:1")):
    engine = KerasEngine(config, batches, vocabulary_size=9, precision="float32", machine=Machine(devices))
    losses = engine.take_steps(windows, np.full(6, 0.01, np.float32), reset_state=True).losses
    tensors = {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in engine.tensors().items()}
    print(json.dumps([losses, tensors]))
"""


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TensorFlow name two graphics cards."""
    cards = [SimpleNamespace(name=f"/device:GPU:{number}") for number in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: cards if kind == "GPU" else [])


def test_the_processor_needs_no_placing() -> None:
    assert devices_for("cpu") == ()


def test_a_missing_graphics_card_is_answered_in_a_line() -> None:
    with pytest.raises(CharlmError, match=r"^training\.device: found gpu; must be cpu, .* no graphics card[^\n]*$"):
        devices_for("gpu")


@pytest.mark.usefixtures("two_cards")
def test_every_graphics_card_computes() -> None:
    assert devices_for("gpu") == ("/device:GPU:0", "/device:GPU:1")


@pytest.mark.usefixtures("two_cards")
def test_a_process_that_has_cards_does_not_train_on_the_processor() -> None:
    with pytest.raises(CharlmError, match=r"^training\.device: found cpu; must be gpu in this process"):
        devices_for("cpu")


def devices_of_parts(devices: int, parts: int) -> list[str]:
    """Return the device of each part on a machine with some devices."""
    machine, found = Machine([f"CPU:{number}" for number in range(devices)]), []
    with tf.Graph().as_default():
        for part in range(parts):
            with machine.device_of(part, own=range(parts)):
                found.append(tf.constant(0).device)
    return found


def test_consecutive_parts_share_a_device_if_there_are_fewer_devices() -> None:
    first, second = "/device:CPU:0", "/device:CPU:1"
    assert devices_of_parts(2, 2) == [first, second]
    assert devices_of_parts(2, 5) == [first, first, first, second, second]
    assert devices_of_parts(2, 1) == [first]
    assert devices_of_parts(0, 2) == ["", ""]


@pytest.mark.slow
def test_two_devices_have_the_weights_and_losses_of_one_to_the_bit() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    one, two = map(json.loads, done.stdout.splitlines())
    assert one == two
    assert len(set(one[0])) == 6
