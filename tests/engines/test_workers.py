"""Connected workers: what they send, and how they are lost. Real ones are in tests/faults."""

import json
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf

from charlm.config.schema import Config
from charlm.engines import factory, workers
from charlm.engines.factory import MIN_ROWS, KerasEngines, connected_engines
from charlm.engines.workers import PIECE_BYTES, ConnectedWorkers
from charlm.errors import CharlmError
from charlm.events import ignore


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


# What worker 0 sends


class Played(ConnectedWorkers):
    """Worker 0 of two, whose numbers are kept, or worker 1, which gets them."""

    def __init__(self, index: int, sent: list[Any]) -> None:
        self.count = 2
        self.index = index
        self.sent = sent

    def total(self, array: Any) -> Any:
        if self.index:
            assert not array.any()
            return self.sent.pop(0)
        self.sent.append(array)
        return array


@pytest.mark.parametrize("count", [0, 3, PIECE_BYTES])
def test_all_workers_get_the_value_of_worker_0(count: int) -> None:
    sent: list[Any] = []
    value = ("take_steps", np.arange(count), {"reset_state": True})
    Played(0, sent).share(value)
    name, array, settings = Played(1, sent).share()
    assert (name, array.tolist(), settings) == ("take_steps", [*range(count)], value[2])
    assert not sent


@pytest.mark.parametrize(
    ("rows", "cores", "parts"),
    [(64, 2, 2), (64, 32, 64 // MIN_ROWS), (3, 4, 1), (7, 4, 1), (8, 4, 2)],
)
@pytest.mark.parametrize("count", [1, 2])
def test_each_core_gets_a_part_of_4_rows_or_more(
    rows: int, cores: int, parts: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.engines.factory.core_count", lambda: cores)
    engines = KerasEngines(ignore, None if count == 1 else Played(0, []))
    config = Config().with_training(batch_size=count * rows, kernel="keras", parts=None)
    assert engines.resolve(config, is_recorded=False).training.parts == parts


# Lost workers


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be the first of two workers, which are not connected."""
    cluster = {"worker": ["a:1", "b:2"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    monkeypatch.setattr(factory, "start_with_others", lambda _count, _index: None)
    monkeypatch.setattr(workers, "connect", lambda _count, index: Played(index, []))


@pytest.mark.parametrize(
    "kind",
    [
        tf.errors.UnavailableError,
        tf.errors.DeadlineExceededError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
    ],
)
@pytest.mark.usefixtures("two_workers")
def test_a_lost_worker_ends_the_training_with_advice(kind: Any) -> None:
    message = "^TF_CONFIG: another worker has ended or does not answer; .* resume the run"
    with pytest.raises(CharlmError, match=message), connected_engines(ignore):
        raise kind(None, None, "lost")


@pytest.mark.usefixtures("two_workers")
def test_another_error_of_tensorflow_is_not_taken_for_a_lost_worker() -> None:
    with pytest.raises(tf.errors.InternalError), connected_engines(ignore):
        raise tf.errors.InternalError(None, None, "a bug")
