"""The workers of several machines, as the environment variable TF_CONFIG describes them."""

import json
from typing import Any

import pytest

from charlm.engines.factory import read_tf_config
from charlm.errors import CharlmError

SECOND = {"type": "worker", "index": 1}


def tf_config(worker: Any, task: dict[str, Any], **jobs: list[str]) -> str:
    cluster = {"worker": worker, **jobs}
    return json.dumps({"cluster": cluster, "task": task, "environment": "cloud"})


def test_tf_config_has_the_number_of_this_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["host-1:2222", "[::1]:80", "10.0.0.1:3"]
    monkeypatch.setenv("TF_CONFIG", tf_config(addresses, SECOND))
    assert read_tf_config() == (3, 1)


def test_with_a_blank_tf_config_there_is_a_single_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", " ")
    assert read_tf_config() == (1, 0)


TWO = ["a:1", "b:2"]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(tf_config(TWO, {"type": "worker", "index": 2}), id="index too large"),
        pytest.param(tf_config(TWO, {"type": "worker", "index": -1}), id="negative index"),
        pytest.param(tf_config(TWO, {"type": "chief", "index": 0}), id="not a worker"),
        pytest.param(tf_config("a:1", SECOND), id="not a list"),
        pytest.param("[" * 10_000, id="not JSON"),
    ],
)
def test_another_tf_config_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", value)
    message = r'^TF_CONFIG: must be \{"cluster": .*\}, with N from 0'
    with pytest.raises(CharlmError, match=message) as refused:
        read_tf_config()
    assert len(str(refused.value).splitlines()) == 1
