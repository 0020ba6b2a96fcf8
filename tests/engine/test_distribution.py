"""How machines share a batch, shown on one: which rows are whose.

Machines that are connected need several processes: tests/faults/test_cluster.py.
"""

import struct
from threading import Event
from types import SimpleNamespace

import pytest

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.engine import distribution
from charlm.engine.cluster import Cluster
from charlm.engine.distribution import Machine, Machines, PeerWatch
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


def test_a_machine_is_silent_if_it_has_not_answered_for_a_while_and_stays_so_once_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked, answer, aborted = [5.0], Event(), Event(), Event()

    def does_answer(_watch: PeerWatch, task: int, *, seconds: float) -> bool:
        assert (task, seconds) == (0, 3.75)
        asked.set()
        return not answer.wait(30)

    monkeypatch.setattr(distribution, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(distribution, "CHECK_SECONDS", 0.25)
    monkeypatch.setattr(PeerWatch, "_answers", does_answer)
    context = SimpleNamespace(abort_collective_ops=lambda _code, _message: aborted.set())
    monkeypatch.setattr("charlm.engine.distribution.context.context", lambda: context)
    watch = PeerWatch(Cluster(("a:1", "b:2"), task=1, lost_seconds=4.0))
    with watch.watching():
        assert asked.wait(30)
        assert watch.silent() is None
        now[0] += 0.25
        assert watch.silent() == 0
        now[0] -= 0.25
        answer.set()
        assert aborted.wait(30)
    assert watch.silent() == 0
