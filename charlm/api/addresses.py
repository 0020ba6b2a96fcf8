"""Which machines train a run together, and which of them this process is."""

import re

from charlm.errors import CharlmError
from charlm.training.cluster import Cluster, cluster_of_environment, parse_cluster

SLURM = re.compile(r"slurm(?::(\d+))?")
SLURM_PORT = 8888
"""That of TensorFlow's resolver."""


def find_cluster(
    addresses: str | None, task: int | None, *, lost_seconds: float, start_seconds: float
) -> Cluster | None:
    """Return the machines that the user names, or that the environment does; None = this machine alone.

    Args:
        addresses: HOST:PORT of every worker with commas between them, the chief first; or slurm or slurm:PORT, the
            tasks of this job step; None = what TF_CONFIG says.
        task: Which of the addresses is this process, from 0.
        lost_seconds: See `Cluster`.
        start_seconds: See `Cluster`.

    Raises:
        CharlmError: the addresses, the task or the variables of the environment are not right.

    """
    if addresses is None:
        return cluster_of_environment(lost_seconds=lost_seconds, start_seconds=start_seconds)
    step = SLURM.fullmatch(addresses.strip())
    if step is None:
        return parse_cluster(addresses, task, lost_seconds=lost_seconds, start_seconds=start_seconds)
    if task is not None:
        raise CharlmError(f"--task: found {task}; must be left out, as Slurm says which worker this is")
    from charlm.engine import runtime

    runtime.load()
    from charlm.engine.slurm import slurm_cluster

    return slurm_cluster(int(step[1] or SLURM_PORT), lost_seconds=lost_seconds, start_seconds=start_seconds)
