"""Several machines: how they are named on the command line, and what they must agree on."""

import json
import socket

import pytest

from charlm.engine.cluster import (
    Cluster,
    WorkerLostError,
    check_agreement,
    cluster_of_environment,
    parse_cluster,
    wait_for_all,
)
from charlm.errors import CharlmError

CLUSTER = Cluster(("a:1", "b:2"), 0)
FACTS = {
    "versions": {"charlm": "1"},
    "corpus": {"ids_sha256": "x"},
    "config": {"seed": 1, "training": {"parts": 4, "steps": 3}},
}


def test_addresses_are_in_order_and_the_first_is_the_chief() -> None:
    cluster = parse_cluster("host-1:2222, [::1]:80,10.0.0.1:3", 1)
    assert cluster.addresses == ("host-1:2222", "[::1]:80", "10.0.0.1:3")
    assert (cluster.is_chief, parse_cluster("a:1", 0).is_chief) == (False, True)
    assert cluster.name(2) == "worker 2 (10.0.0.1:3)"


@pytest.mark.parametrize(
    ("addresses", "task", "message"),
    [
        ("a", 0, "--cluster: found 'a'; must be HOST:PORT"),
        ("a:1,", 0, "--cluster: found ''; must be HOST:PORT"),
        ("a:0", 0, "--cluster: found 'a:0'"),
        ("a:65536", 0, "--cluster: found 'a:65536'"),
        ("a b:1", 0, "--cluster: found 'a b:1'"),
        ("a:1,b:1,a:1", 0, "--cluster: found 'a:1,b:1,a:1'; each worker"),
        ("a:1,b:1", 2, "--task: found 2; must be 0 to 1"),
        ("a:1,b:1", -1, "--task: found -1; must be 0 to 1"),
        ("a:1,b:1", None, "--task: missing"),
    ],
)
def test_wrong_addresses_and_tasks_are_refused(addresses: str, task: int | None, message: str) -> None:
    with pytest.raises(CharlmError, match=f"^{message.replace('(', '.')}"):
        parse_cluster(addresses, task)


def test_tf_config_names_a_chief_and_workers_or_workers_alone() -> None:
    jobs = {"chief": ["c:1"], "worker": ["a:1", "b:2"]}
    task = {"type": "worker", "index": 1}
    for config, addresses, number in (
        ({"cluster": jobs, "task": task}, ("c:1", "a:1", "b:2"), 2),
        ({"cluster": {"worker": jobs["worker"]}, "task": task}, ("a:1", "b:2"), 1),
    ):
        found = cluster_of_environment({"TF_CONFIG": json.dumps(config)})
        assert found is not None
        assert (found.addresses, found.task) == (addresses, number)
    assert cluster_of_environment({"TF_CONFIG": ""}) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": [1]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 9}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1e400}}',
        '{"cluster": "' + 10_000 * "x" + '", "task": {"type": "x", "index": 0}}',
    ],
)
def test_another_tf_config_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(CharlmError) as error:
        cluster_of_environment({"TF_CONFIG": text})
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300


def test_a_machine_that_does_not_come_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        chief = f"127.0.0.1:{free.getsockname()[1]}"
    addresses = (chief, "127.0.0.1:1", "127.0.0.1:2")
    with pytest.raises(WorkerLostError, match=r"worker 1 .* worker 2 .*: has not come within 0.1 s"):
        wait_for_all(Cluster(addresses, 0, start_seconds=0.1))


def test_machines_agree_although_only_the_chief_decides_the_number_of_parts() -> None:
    check_agreement(CLUSTER, [FACTS, FACTS])
    check_agreement(CLUSTER, [FACTS, FACTS | {"config": {"seed": 1, "training": {"parts": 8, "steps": 3}}}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"versions": {"charlm": "2"}}, "versions.charlm: found '2'; must be '1', as on worker 0 (a:1)"),
        ({"corpus": {"ids_sha256": "y"}}, "another text or split than on worker 0 (a:1); give each the same"),
        (
            {"config": {"seed": 1, "training": {"parts": 4, "steps": 5}}},
            "training.steps: found 5; must be 3, as on worker 0 (a:1)",
        ),
    ],
)
def test_the_first_difference_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(CharlmError) as error:
        check_agreement(CLUSTER, [FACTS, FACTS | change])
    assert str(error.value) == f"worker 1 (b:2): {message}"
