"""The values that several workers exchange.

One worker plays its part here with the numbers of the others; real ones are in tests/faults.
"""

from pathlib import Path

import numpy as np
import pytest
from corpora import make_corpus
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.training.workers import Workers


class PlayedWorker(Workers):
    """A worker that receives fixed numbers from the others."""

    def __init__(self, index: int, *others: list[int]) -> None:
        self.count = 1 + len(others)
        self.index = index
        self.others = np.array(others)

    def total(self, array: NDArray[np.int64]) -> NDArray[np.int64]:
        others = self.others.reshape(self.count - 1, *array.shape[1:])
        total: NDArray[np.int64] = array + np.insert(others, self.index, 0, axis=0)
        return total


THIRD_OF_THREE = PlayedWorker(2, [0], [0])


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(
    ("first", "second", "agreed"),
    [
        ((5, 0), (3, 0), (5, 0)),
        ((5, 0), (3, 15), (0, 15)),
        ((0, 0), (3, 15), (0, 0)),
        ((0, 2), (3, 15), (0, 2)),
    ],
    ids=[
        "worker 0 decides on the steps",
        "a signal on any worker ends the run",
        "worker 0 ends the run before a signal",
        "the signal of worker 0 comes first",
    ],
)
def test_all_workers_agree(
    first: tuple[int, int], second: tuple[int, int], agreed: tuple[int, int], index: int
) -> None:
    suggestions = [first, second]
    worker = PlayedWorker(index, [7, *suggestions[1 - index]])
    count, signal = suggestions[index]
    assert worker.agree(step=7, count=count, signal=signal) == agreed


@pytest.mark.parametrize(("index", "shared"), [(0, 9), (1, 3)])
def test_worker_0_decides_on_a_number(index: int, shared: int) -> None:
    assert PlayedWorker(index, [3]).broadcast(9) == shared
    assert PlayedWorker(index, [3 * 10**9]).broadcast_seconds(9.0) == shared


def test_copies_of_a_run_at_different_steps_are_refused() -> None:
    message = r"resumed at different steps \(7, 9\); copy the run of worker 0"
    with pytest.raises(CharlmError, match=message):
        PlayedWorker(0, [9, 1, 0]).agree(step=7, count=1, signal=0)


def test_each_worker_computes_an_equal_share_of_the_rows() -> None:
    assert THIRD_OF_THREE.rows(12) == slice(8, 12)


def test_rows_that_cannot_be_divided_evenly_are_refused() -> None:
    message = r"training\.batch_size: found 13; must be divisible by 3"
    with pytest.raises(CharlmError, match=message):
        THIRD_OF_THREE.rows(13)


@pytest.mark.parametrize(
    ("rows", "cores", "parts"),
    [(64, 2, 2), (64, 32, 16), (3, 4, 1), (7, 4, 1), (8, 4, 2)],
)
def test_each_core_gets_a_part_of_4_rows_or_more(rows: int, cores: int, parts: int) -> None:
    assert Workers().default_parts(rows, cores=cores) == parts
    assert THIRD_OF_THREE.default_parts(3 * rows, cores=cores) == parts


class Twin(Workers):
    """The first of two workers; the other one has the same numbers, except at one exchange."""

    count = 2

    def __init__(self, differs_at: int | None) -> None:
        self.differs_at = differs_at
        self.exchanges = 0
        self.passed: list[int] = []

    def total(self, array: NDArray[np.int64]) -> NDArray[np.int64]:
        assert array.dtype == np.int64
        self.passed.append(int(array[0]))
        differs = self.exchanges == self.differs_at
        self.exchanges += 1
        return np.array([array[0], array[0] + differs])


def test_workers_that_agree_on_everything_are_accepted(tmp_path: Path) -> None:
    """They compare the versions, the text, and six sections or settings."""
    twin = Twin(differs_at=None)
    twin.check_same(Config(), make_corpus(tmp_path, "abba\n"))
    assert twin.exchanges == 8


def test_the_versions_of_tensorflow_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(tmp_path, "abba\n")
    digests = set()
    for version in ("1", "2"):
        monkeypatch.setattr("charlm.training.workers.versions", lambda *_: version)  # noqa: B023
        twin = Twin(differs_at=None)
        twin.check_same(Config(), corpus)
        digests.add(twin.passed[0])
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("differs_at", "name"),
    [
        (0, "the versions of charlm, TensorFlow and Keras"),
        (1, "the text"),
        (6, "the settings of training"),
    ],
)
def test_workers_that_differ_are_refused(differs_at: int, name: str, tmp_path: Path) -> None:
    message = f"^TF_CONFIG: {name}: must be the same on all workers; worker 0 differs from worker 1"
    with pytest.raises(CharlmError, match=message):
        Twin(differs_at).check_same(Config(), make_corpus(tmp_path, "abba\n"))
