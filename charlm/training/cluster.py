"""Several machines that train one run: which they are, what they must agree on, and how one of them is lost.

Worker 0 is the chief: it owns the folder of the run and decides every step. The others read their own copy of the text
and compute their share of each batch. `charlm.engine.distribution` connects them.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charlm import __version__
from charlm.config.schema import Config
from charlm.config.yaml import show_value
from charlm.errors import CharlmError, shorten
from charlm.hardware import versions
from charlm.runs.run import Run, corpus_identity, default_parts, with_parts

ADDRESS = re.compile(r"[A-Za-z0-9.\-_]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
MAX_WORKERS = 256


class WorkerLostError(CharlmError):
    """A machine of the cluster does not answer; the exit code of the command is 3."""

    exit_code = 3


@dataclass(frozen=True)
class Cluster:
    """The machines that train a run together."""

    addresses: tuple[str, ...]
    """HOST:PORT of every worker, 1 to 256; the first is the chief."""
    task: int
    """Which of them this process is, from 0."""
    lost_seconds: float = 30.0
    """A worker that does not answer for so long is lost."""
    start_seconds: float = 120.0
    """A worker that has not come after so long is missing."""

    def name(self, task: int) -> str:
        """Return how messages call a worker."""
        return f"worker {task} ({self.addresses[task]})"

    @property
    def is_chief(self) -> bool:
        """Whether this process owns the run."""
        return self.task == 0


def parse_cluster(addresses: str, task: int | None, *, lost_seconds: float, start_seconds: float) -> Cluster:
    """Return the cluster of the options --cluster and --task.

    Args:
        addresses: HOST:PORT of every worker, with commas between them, the chief first.
        task: Which of them this process is, from 0.
        lost_seconds: See `Cluster`.
        start_seconds: See `Cluster`.

    Raises:
        CharlmError: an address is not HOST:PORT, occurs twice, or there are too many; or the task is none of them.

    """
    several = tuple(part.strip() for part in addresses.split(","))
    for address in several:
        if not ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 1 << 16:
            raise CharlmError(f"--cluster: found {shorten(address)}; must be HOST:PORT for each worker, with commas")
        if several.count(address) > 1:
            raise CharlmError(f"--cluster: {address} is named {several.count(address)} times; each worker has its own")
    if len(several) > MAX_WORKERS:
        raise CharlmError(f"--cluster: found {len(several)} workers; at most {MAX_WORKERS} can train together")
    if task is None:
        raise CharlmError("--task: missing; it says which worker of --cluster this is, counted from 0")
    if not 0 <= task < len(several):
        raise CharlmError(f"--task: found {task}; must be 0 to {len(several) - 1}, as --cluster names {len(several)}")
    return Cluster(several, task, lost_seconds=lost_seconds, start_seconds=start_seconds)


def cluster_of_environment(
    *, lost_seconds: float, start_seconds: float, environment: Mapping[str, str] = os.environ
) -> Cluster | None:
    """Return the cluster that the variable TF_CONFIG describes, None if it is not set.

    Raises:
        CharlmError: the variable is not valid JSON of that form; it has jobs other than chief and worker.

    """
    text = environment.get("TF_CONFIG", "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        if set(jobs) - {"chief", "worker"} or task["type"] not in jobs:
            raise CharlmError(f"TF_CONFIG: found the jobs {', '.join(map(shorten, jobs))}; must be chief and worker")
        addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
        index = int(task["index"]) + (len(jobs.get("chief", [])) if task["type"] == "worker" else 0)
        return parse_cluster(",".join(addresses), index, lost_seconds=lost_seconds, start_seconds=start_seconds)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CharlmError(
            'TF_CONFIG: must be {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}'
        ) from None


def facts_to_agree_on(run: Run, *, config: Config | None, precision: str) -> dict[str, Any]:
    """Return what must be the same on every machine: versions, the text, and every setting.

    Args:
        run: Its corpus is used.
        config: Every setting as the user gave it; None = the chief decides, as it does on a resume.
        precision: The precision of matrix products that this processor is capable of.

    """
    return {
        "versions": {"charlm": __version__, **versions("tensorflow", "keras")},
        "corpus": {**corpus_identity(run.corpus), "vocabulary": run.corpus.vocabulary.to_json()},
        "precision": precision,
        "config": None if config is None else config.model_dump(mode="json"),
    }


def check_agreement(cluster: Cluster, facts: Sequence[Mapping[str, Any]]) -> None:
    """Check that all machines would train the same.

    The chief decides `training.parts` if another machine has None, and every setting if another has no config.

    Args:
        cluster: The machines.
        facts: What `facts_to_agree_on` returned on each of them, in order.

    Raises:
        CharlmError: one differs from the chief; the message names the worker and the first difference. Or they would
            train on graphics cards.

    """
    if (device := facts[0]["config"]["training"]["device"]) != "cpu":
        raise CharlmError(f"training.device: found {device}; must be cpu, as several machines share a batch by cores")
    for task, found in enumerate(facts):
        for key, (theirs, chiefs) in _differences(found, facts[0]).items():
            if theirs is None and key in {"config", "config.training.parts"}:
                continue
            if key.startswith("corpus."):
                raise CharlmError(
                    f"{cluster.name(task)}: another text or split than on {cluster.name(0)}; give each the same"
                )
            raise CharlmError(
                f"{cluster.name(task)}: {key.removeprefix('config.')}: found {show_value(theirs)}; must be "
                f"{show_value(chiefs)}, as on {cluster.name(0)}"
            )


def _differences(found: Any, wanted: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys in which two nested mappings differ, with both values."""
    if not (isinstance(found, Mapping) and isinstance(wanted, Mapping)):
        return {} if found == wanted else {prefix: (found, wanted)}
    differences: dict[str, tuple[Any, Any]] = {}
    for key in {**wanted, **found}:
        inner = f"{prefix}.{key}" if prefix else str(key)
        differences |= _differences(found.get(key), wanted.get(key), inner)
    return differences


def settle_cluster_parts(config: Config, *, workers: int, cores: int) -> Config:
    """Return a config whose `training.parts` is a number that all workers have a share of.

    Args:
        config: Every setting; if `training.parts` is None, each worker gets the `default_parts` of its rows.
        workers: The number of machines, 1 or more.
        cores: The cores of the chief.

    Raises:
        CharlmError: there are fewer parts than workers.

    """
    parts = config.training.parts or cluster_parts(config.training.batch_size, workers=workers, cores=cores)
    if parts < workers:
        raise CharlmError(f"training.parts: found {parts}; must be at least {workers}, one for each worker")
    return with_parts(config, parts)


def cluster_parts(batch_size: int, *, workers: int, cores: int) -> int:
    """Return into how many parts the workers cut a batch unless `training.parts` says it: the `default_parts` of each.

    Args:
        batch_size: The rows of a batch, 1 or more.
        workers: The number of machines, 1 or more.
        cores: The cores of each of them.

    """
    return workers * default_parts(batch_size // workers, cores=cores)
