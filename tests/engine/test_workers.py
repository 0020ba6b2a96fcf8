"""Connected workers: how they add numbers. Real ones are in tests/faults.

A strategy plays the other worker here: it has the same numbers as this one.
"""

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close

from charlm.engine import runtime, workers
from charlm.engine.factory import connected_engines
from charlm.engine.workers import ConnectedWorkers
from charlm.errors import CharlmError
from charlm.training.session import Session
from charlm.training.workers import Workers


class PlayedStrategy:
    """A strategy with two replicas that have the same numbers."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self.calls += 1
        return function(*args)


class PlayedReplica:
    """A replica; the other one has the same numbers."""

    def all_reduce(
        self,
        operation: str,
        value: Any,
    ) -> Any:
        assert operation == "sum"
        return 2 * value


@pytest.fixture
def strategies(monkeypatch: pytest.MonkeyPatch) -> list[PlayedStrategy]:
    """Replace the strategy of TensorFlow; return the list of those that are made."""
    made: list[PlayedStrategy] = []

    def make(**_options: Any) -> PlayedStrategy:
        made.append(PlayedStrategy())
        return made[-1]

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", make)
    monkeypatch.setattr(tf.distribute, "get_replica_context", PlayedReplica)
    return made


def test_all_tensors_are_added_at_once(strategies: list[PlayedStrategy]) -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = [tf.constant(1.5), tf.constant(matrix), tf.constant([7.0])]
    sums = ConnectedWorkers(2, 0).sum(tensors)
    check_close(sums, [3.0, 2 * matrix, [14.0]])
    assert [total.shape for total in sums] == [(), (2, 3), (1,)]
    assert strategies[0].calls == 1


@pytest.mark.usefixtures("strategies")
def test_an_array_is_added_with_its_dtype() -> None:
    total = ConnectedWorkers(2, 1).total(np.array([[1, -2]], np.int64))
    assert total.dtype == np.int64
    assert total.tolist() == [[2, -4]]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("in use\nmore"), id="RuntimeError"),
        pytest.param(tf.errors.UnavailableError(None, None, "in use\nmore"), id="OpError"),
    ],
)
def test_an_address_that_cannot_be_used_is_reported(
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategy = Mock(side_effect=error)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", strategy)
    with pytest.raises(CharlmError) as refused:
        ConnectedWorkers(2, 1)
    assert str(refused.value) == "TF_CONFIG: worker 1: in use; is its port in use?"


# Lost workers


@pytest.fixture
def session_of_two(monkeypatch: pytest.MonkeyPatch) -> Session:
    """Return a session of the second of two workers, which are not connected."""
    cluster = {"worker": ["a:1", "b:2"]}
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    monkeypatch.setattr(runtime, "start_with_others", lambda _count, _index: None)
    monkeypatch.setattr(workers, "connect", lambda _count, _index: PlayedWorkers())
    return Session()


class PlayedWorkers(Workers):
    """The second of two workers."""

    count = 2
    index = 1


def test_engines_have_the_connected_workers(session_of_two: Session) -> None:
    with connected_engines(session_of_two) as engines:
        assert isinstance(engines.workers, PlayedWorkers)


@pytest.mark.parametrize(
    "kind",
    [
        tf.errors.UnavailableError,
        tf.errors.DeadlineExceededError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
    ],
)
def test_a_lost_worker_ends_the_training_with_advice(kind: Any, session_of_two: Session) -> None:
    message = "^TF_CONFIG: another worker has ended or does not answer; .* resume the run"
    with pytest.raises(CharlmError, match=message), connected_engines(session_of_two):
        raise kind(None, None, "lost")


def test_another_error_of_tensorflow_is_not_taken_for_a_lost_worker(
    session_of_two: Session,
) -> None:
    with pytest.raises(tf.errors.InternalError), connected_engines(session_of_two):
        raise tf.errors.InternalError(None, None, "a bug")
