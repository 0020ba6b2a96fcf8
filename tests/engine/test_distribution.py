"""How machines share a batch, shown on one: which parts are whose, and what is exchanged.

Machines that are connected need several processes: tests/faults/test_cluster.py.
"""

from collections.abc import Callable

import numpy as np
import pytest

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.engine.distribution import StandIn
from charlm.engine.keras_engine import KerasEngine
from charlm.engine.recurrence import Tensor
from charlm.errors import CharlmError
from charlm.network.architecture import architecture
from charlm.text.batches import Batches
from charlm.training.scaling import FLOAT_BYTES, exchanged_bytes, muon_weights

V, T, B = 5, 4, 6
SETTINGS = ("model.layers=2", "model.units=8", "model.skip_connections=true", "training.parts=4")


class Counting(StandIn):
    """Counts the numbers that this machine sends to each of the others in a step."""

    numbers = 0

    def gather(self, sums: list[list[Tensor]], *, count: int) -> list[list[Tensor]]:
        self.numbers += sum(int(np.prod(tensor.shape)) for row in sums for tensor in row)
        return super().gather(sums, count=count)

    def share(self, compute: Callable[[], Tensor], *, like: Tensor, owner: int) -> Tensor:
        self.numbers += int(np.prod(like.shape))
        return super().share(compute, like=like, owner=owner)


def make(machine: StandIn, *overrides: str, batch_size: int = B) -> KerasEngine:
    config = load_config(find_recipe("tiny"), overrides=[*SETTINGS, *overrides])
    batches = Batches(length=1000, batch_size=batch_size, sequence_length=T, seed=1)
    return KerasEngine(config, batches, vocabulary_size=V, precision="float32", machine=machine)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("machines", [2, 3])
def test_a_step_exchanges_the_bytes_that_are_reckoned(machines: int, optimizer: str) -> None:
    machine = Counting(machines)
    config = load_config(find_recipe("tiny"), overrides=[*SETTINGS, f"training.optimizer.name={optimizer}"])
    make(machine, f"training.optimizer.name={optimizer}").build()
    shapes = architecture(config, V).shapes()
    reckoned = exchanged_bytes(
        sum(int(np.prod(shape)) for shape in shapes.values()),
        matrices=muon_weights(shapes, config.training.optimizer),
        parts=4,
        machines=machines,
    )
    assert FLOAT_BYTES * (machines - 1) * machine.numbers == reckoned


def test_a_stand_in_reads_and_computes_the_parts_of_the_first_machine() -> None:
    engine = make(StandIn(2), "training.optimizer.name=muon")
    assert engine.rows == slice(0, 4)  # parts of 2, 2, 1 and 1 rows
    metrics = engine.take_steps(np.ones((2, T + 1, 4), np.int32), np.full(2, 1e-3, np.float32), reset_state=True)
    assert np.isfinite(metrics.losses).all()


@pytest.mark.parametrize(("parts", "batch_size"), [(2, 6), (4, 2)])
def test_more_machines_than_parts_or_rows_are_refused(parts: int, batch_size: int) -> None:
    with pytest.raises(CharlmError, match=f"{batch_size} windows in {parts} parts; 3 workers need at least 3"):
        make(StandIn(3), f"training.parts={parts}", batch_size=batch_size)
