"""Which machines train a run: those of --cluster, of the step of Slurm, or of TF_CONFIG."""

import pytest

from charlm.api.addresses import find_cluster
from charlm.errors import CharlmError
from charlm.training.cluster import Cluster


def find(addresses: str | None, task: int | None = None) -> Cluster | None:
    return find_cluster(addresses, task, lost_seconds=30, start_seconds=120)


def test_addresses_and_the_task_are_those_that_are_given() -> None:
    assert find("a:1,b:2", 1) == Cluster(("a:1", "b:2"), 1)


def test_without_addresses_the_variable_tf_config_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert find(None) is None
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}')
    assert find(None) == Cluster(("a:1", "b:2"), 1)


def test_slurm_says_itself_which_task_this_is() -> None:
    with pytest.raises(CharlmError, match=r"^--task: found 1; must be left out, as Slurm says"):
        find("slurm", 1)


@pytest.mark.parametrize(("addresses", "port"), [("slurm", 8888), ("slurm:7000", 7000)])
def test_the_port_of_slurms_tasks_can_be_chosen(addresses: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    step = {"STEP_NODELIST": "n[1-2]", "STEP_TASKS_PER_NODE": "1(x2)", "STEP_NUM_TASKS": "2", "PROCID": "1"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_LOCALID", "0")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    assert find(addresses) == Cluster((f"n1:{port}", f"n2:{port}"), 1)
