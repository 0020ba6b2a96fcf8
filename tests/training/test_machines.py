"""What machines tell each other; the all-reduce of several is played by one, real ones are in tests/faults."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.training.machines import Machines


class Played(Machines):
    """One of some machines, of which the others pass these numbers."""

    def __init__(self, index: int, *others: list[int]) -> None:
        self.count, self.index, self.others = 1 + len(others), index, [*others]

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        theirs = np.array(self.others).reshape(self.count - 1, -1)
        return array + np.insert(theirs, self.index, 0, axis=0)


def test_all_machines_do_what_the_first_does_unless_a_signal_ends_the_run() -> None:
    for first, second, agreed in (
        ((5, 0), (3, 0), (5, 0)),  # the steps are the word of machine 0
        ((5, 0), (3, 15), (0, 15)),  # a signal on any machine ends the run
        ((0, 0), (3, 15), (0, 0)),  # so does machine 0, which comes first
        ((0, 2), (3, 15), (0, 2)),
    ):
        said = [first, second]
        for index in (0, 1):
            machine, (count, signal) = Played(index, [7, *said[1 - index]]), said[index]
            assert machine.agree(step=7, count=count, signal=signal) == agreed


def test_copies_of_a_run_at_different_steps_are_refused() -> None:
    with pytest.raises(CharlmError, match=r"have resumed at the steps \(7, 9\); give each the same run"):
        Played(0, [9, 1, 0]).agree(step=7, count=1, signal=0)


def test_each_machine_computes_consecutive_rows_and_as_many_as_the_others() -> None:
    machine = Played(2, [0], [0])
    assert machine.rows(12) == slice(8, 12)
    with pytest.raises(CharlmError, match=r"training\.batch_size: found 13; must be divisible by 3"):
        machine.rows(13)


def test_each_core_gets_a_part_of_8_rows_or_more() -> None:
    for rows, cores, parts in ((64, 2, 2), (64, 16, 8), (7, 4, 1), (16, 4, 2), (1, 1, 1)):
        assert Machines().default_parts(rows, cores=cores) == parts
        assert Played(2, [0], [0]).default_parts(3 * rows, cores=cores) == parts


def test_a_machine_alone_gets_its_own_numbers_back() -> None:
    alone = Machines()
    assert alone.gather([3, 4]).tolist() == [[3, 4]]
    assert alone.share(5) == 5
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(alone.gather(rows), rows[None])
    assert alone.rows(Config().training.batch_size) == slice(0, 64)
