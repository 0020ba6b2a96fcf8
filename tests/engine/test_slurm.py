"""The machines of a job step of Slurm, from the variables that srun sets."""

import pytest

from charlm.engine.slurm import slurm_cluster
from charlm.errors import CharlmError
from charlm.training.cluster import Cluster

STEP = {
    "SLURM_STEP_NODELIST": "m2,n[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "1,2(x2)",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
    "SLURMD_NODENAME": "n10",
}
"""The last task of a step of five on the nodes m2, n9 and n10."""


@pytest.fixture(autouse=True)
def step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a task of a step."""
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)


def cluster() -> Cluster:
    return slurm_cluster(7000, lost_seconds=30, start_seconds=120)


def test_every_task_of_the_step_is_a_worker_with_a_port_of_its_own() -> None:
    assert cluster().addresses == ("m2:7000", "n10:7000", "n10:7001", "n9:7000", "n9:7001")


@pytest.mark.parametrize(
    ("node", "local", "task"), [("m2", 0, 0), ("n9", 0, 3), ("n9", 1, 4), ("n10", 0, 1), ("n10", 1, 2)]
)
def test_a_task_finds_itself_by_its_node_and_its_place_there(
    node: str, local: int, task: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", node)
    monkeypatch.setenv("SLURM_LOCALID", str(local))
    assert cluster().task == task


@pytest.mark.parametrize("name", STEP)
def test_a_missing_variable_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(CharlmError, match=f"^--cluster slurm: {name}: not set; start the command with srun"):
        cluster()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SLURM_STEP_NODELIST", "n[", "do not name a job step: Invalid hostlist"),
        ("SLURM_STEP_TASKS_PER_NODE", "1,2", "do not name a job step: Requested 5 tasks but only 3"),
        ("SLURM_STEP_TASKS_PER_NODE", "many", "do not name a job step: Invalid tasks-per-node"),
        ("SLURM_STEP_NUM_TASKS", "x", "do not name a job step: invalid literal"),
        ("SLURM_LOCALID", "7", "found n10:7007 for this task; must be one of m2:7000"),
        ("SLURMD_NODENAME", "other", "found other:7001 for this task; must be one of m2:7000"),
    ],
)
def test_variables_that_name_no_step_are_refused_in_a_line(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CharlmError, match=message) as error:
        cluster()
    assert len(str(error.value).splitlines()) == 1
