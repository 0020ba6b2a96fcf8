"""How machines share a batch, shown on one: which rows are whose.

Machines that are connected need several processes: tests/faults/test_cluster.py.
"""

import struct

import pytest

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.engine.distribution import Machine, Machines
from charlm.engine.keras_engine import KerasEngine
from charlm.errors import CharlmError
from charlm.text.batches import Batches


def make(machines: int, *, parts: int, batch_size: int = 6) -> KerasEngine:
    """Make the engine of the first of some machines, which is not connected with the others."""
    machine = Machine()
    machine.count = machines
    config = load_config(find_recipe("tiny"), overrides=[f"training.parts={parts}"])
    batches = Batches(length=1000, batch_size=batch_size, sequence_length=4, seed=1)
    return KerasEngine(config, batches, vocabulary_size=5, machine=machine)


def test_a_machine_reads_the_rows_of_its_parts() -> None:
    assert make(2, parts=4).rows == slice(0, 4)  # parts of 2, 2, 1 and 1 rows


@pytest.mark.parametrize(
    ("said", "agreed"),
    [
        ([(5, 0), (3, 0)], (5, 0)),  # the steps are the word of the chief
        ([(5, 0), (3, 15)], (0, 15)),  # a signal on any machine ends the run
        ([(0, 0), (3, 15)], (0, 0)),  # so does the chief, which comes first
        ([(0, 2), (3, 15)], (0, 2)),
    ],
)
def test_machines_agree_on_what_the_chief_does_unless_a_signal_ends_the_run(
    said: list[tuple[int, int]], agreed: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = Machines.__new__(Machines)  # not connected
    monkeypatch.setattr(machines, "exchange", lambda _: [struct.pack("<ii", *each) for each in said])
    assert machines.agree(*said[1]) == agreed


@pytest.mark.parametrize(("parts", "batch_size"), [(2, 6), (4, 2)])
def test_more_machines_than_parts_or_rows_are_refused(parts: int, batch_size: int) -> None:
    with pytest.raises(CharlmError, match=f"{batch_size} windows in {parts} parts; 3 workers need at least 3"):
        make(3, parts=parts, batch_size=batch_size)
