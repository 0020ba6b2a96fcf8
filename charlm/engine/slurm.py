"""The machines of a job step of Slurm, as TensorFlow's SlurmClusterResolver finds them."""

import os

import tensorflow as tf

from charlm.errors import CharlmError
from charlm.training.cluster import Cluster, parse_cluster

VARIABLES = (
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURMD_NODENAME",
)
"""What srun sets for each task of a step."""


def slurm_cluster(port: int, *, lost_seconds: float, start_seconds: float) -> Cluster:
    """Return the cluster of all tasks of this job step; the first task on the first node is the chief.

    Args:
        port: The port of the first task on each node, 1 to 65,535; the next task has the next one.
        lost_seconds: See `Cluster`.
        start_seconds: See `Cluster`.

    Raises:
        CharlmError: a variable of the environment is missing or not as Slurm sets it, or as `parse_cluster`.

    """
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise CharlmError(f"--cluster slurm: {', '.join(missing)}: not set; start the command with srun, which sets it")
    try:
        # a card for each task, none of which is used: with none, the resolver fails (tensorflow issue 56894)
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port,
            gpus_per_node=int(os.environ["SLURM_STEP_NUM_TASKS"]),
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        addresses = resolver.cluster_spec().as_dict()["worker"]
        own = f"{os.environ['SLURMD_NODENAME']}:{port + int(os.environ['SLURM_LOCALID'])}"
    except (RuntimeError, ValueError) as error:
        raise CharlmError(f"--cluster slurm: the variables of Slurm do not name a job step: {error}") from None
    # the resolver sorts the nodes as texts, node10 before node9, so SLURM_PROCID is not the place in its list
    if own not in addresses:
        raise CharlmError(f"--cluster slurm: found {own} for this task; must be one of {', '.join(addresses)}")
    return parse_cluster(
        ",".join(addresses), addresses.index(own), lost_seconds=lost_seconds, start_seconds=start_seconds
    )
