"""The workers of several machines, as the environment variable TF_CONFIG describes them."""

import json
from typing import Any

import pytest

from charlm.engine.runtime import read_tf_config
from charlm.errors import CharlmError

SECOND = {"type": "worker", "index": 1}


def variables(worker: Any, task: dict[str, Any], **jobs: list[str]) -> dict[str, str]:
    cluster = {"worker": worker, **jobs}
    tf_config = {"cluster": cluster, "task": task, "environment": "cloud"}
    return {"TF_CONFIG": json.dumps(tf_config)}


def test_tf_config_has_the_number_of_this_worker() -> None:
    addresses = ["host-1:2222", "[::1]:80", "10.0.0.1:3"]
    assert read_tf_config(variables(addresses, SECOND)) == (3, 1)


@pytest.mark.parametrize("environment", [{}, {"TF_CONFIG": " "}], ids=["missing", "blank"])
def test_without_a_tf_config_there_is_a_single_worker(environment: dict[str, str]) -> None:
    assert read_tf_config(environment) == (1, 0)


TWO = ["a:1", "b:2"]


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(variables(TWO, {"type": "worker", "index": 2}), id="index too large"),
        pytest.param(variables(TWO, {"type": "worker", "index": -1}), id="negative index"),
        pytest.param(variables(TWO, {"type": "chief", "index": 0}), id="not a worker"),
        pytest.param(variables(TWO, SECOND, chief=["c:1"]), id="another job"),
        pytest.param(variables(["a:1", "b"], SECOND), id="no port"),
        pytest.param(variables([1, 2], SECOND), id="numbers"),
        pytest.param(variables("a:1", SECOND), id="not a list"),
        pytest.param({"TF_CONFIG": "[" * 10_000}, id="not JSON"),
    ],
)
def test_another_tf_config_is_refused(environment: dict[str, str]) -> None:
    message = r'^TF_CONFIG: must be \{"cluster": .*\}, with N from 0'
    with pytest.raises(CharlmError, match=message) as refused:
        read_tf_config(environment)
    assert len(str(refused.value).splitlines()) == 1
