"""Several machines that train one run: which they are, what they must agree on, and how one of them is lost.

Every machine runs the same program on its own copy of the text. Worker 0 is the chief: its folder of the run is the
one that stays. `charlm.engine.distribution` connects them.
"""

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charlm import __version__
from charlm.config.schema import Config
from charlm.config.yaml import show_value
from charlm.errors import CharlmError, short_repr
from charlm.hardware import versions
from charlm.runs.run import corpus_identity
from charlm.text.corpus import Corpus

ADDRESS = re.compile(r"[A-Za-z0-9.\-_]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")


class WorkerLostError(CharlmError):
    """A machine of the cluster does not answer; the exit code of the command is 3."""

    exit_code = 3


class AgreementError(CharlmError):
    """The machines of a cluster would not train the same; every one of them finds that out."""


class PeerFailedError(CharlmError):
    """Another machine has ended before its end: with an error of its own, or by a signal.

    Args:
        name: How messages call it.
        error: Why.
        exit_code: Its exit code.

    """

    def __init__(self, name: str, *, error: str, exit_code: int) -> None:
        super().__init__(f"{name} has ended the run: {error}")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Cluster:
    """The machines that train a run together."""

    addresses: tuple[str, ...]
    """HOST:PORT of every worker; the first is the chief."""
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


def parse_cluster(addresses: str, task: int | None) -> Cluster:
    """Return the cluster of the options --cluster and --task.

    Args:
        addresses: HOST:PORT of every worker, with commas between them, the chief first.
        task: Which of them this process is, from 0.

    Raises:
        CharlmError: an address is not HOST:PORT or occurs twice, or the task is none of them.

    """
    several = tuple(part.strip() for part in addresses.split(","))
    for address in several:
        if not ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 1 << 16:
            raise CharlmError(f"--cluster: found {short_repr(address)}; must be HOST:PORT for each worker, with commas")
    if len({*several}) < len(several):
        raise CharlmError(f"--cluster: found {short_repr(addresses)}; each worker must have an address of its own")
    if task is None:
        raise CharlmError("--task: missing; it says which worker of --cluster this is, counted from 0")
    if not 0 <= task < len(several):
        raise CharlmError(f"--task: found {task}; must be 0 to {len(several) - 1}, as --cluster names {len(several)}")
    return Cluster(several, task)


def cluster_of_environment(environment: Mapping[str, str] = os.environ) -> Cluster | None:
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
            raise CharlmError(f"TF_CONFIG: found the jobs {short_repr(', '.join(jobs))}; must be chief and worker")
        addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
        index = int(task["index"]) + (len(jobs.get("chief", [])) if task["type"] == "worker" else 0)
        return parse_cluster(",".join(addresses), index)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise CharlmError(
            'TF_CONFIG: must be {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}'
        ) from None


def facts_to_agree_on(config: Config, corpus: Corpus) -> dict[str, Any]:
    """Return what must be the same on every machine, for JSON: versions, the text, and every setting."""
    return {
        "versions": {"charlm": __version__, **versions("tensorflow", "keras")},
        "corpus": {**corpus_identity(corpus), "vocabulary": corpus.vocabulary.to_fields()},
        "config": config.model_dump(mode="json"),
    }


def check_agreement(cluster: Cluster, facts: Sequence[Mapping[str, Any]]) -> None:
    """Check that all machines would train the same; the chief decides `training.parts`.

    Args:
        cluster: The machines.
        facts: What `facts_to_agree_on` returned on each of them, in order.

    Raises:
        AgreementError: one differs from the chief; the message names the worker and the first difference.

    """
    for task, found in enumerate(facts):
        for key, (theirs, chiefs) in _differences(found, facts[0]).items():
            if key == "config.training.parts":
                continue
            if key.startswith("corpus."):
                raise AgreementError(
                    f"{cluster.name(task)}: another text or split than on {cluster.name(0)}; give each the same"
                )
            raise AgreementError(
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


GREETING = b"charlm %d\n"
MAX_GREETING_BYTES = 64
GO = b"go\n"
RETRY_SECONDS = 0.2
PATIENCE_SECONDS = 5.0
"""How long a connection may take to send its greeting; a stranger's is dropped."""


def wait_for_all(cluster: Cluster) -> None:
    """Return when every machine of a cluster has called this.

    Raises:
        WorkerLostError: a machine has not come within `cluster.start_seconds`; the message names it.
        CharlmError: the address of this machine cannot be used, or another machine has the same --task.

    """
    deadline = time.monotonic() + cluster.start_seconds
    if cluster.is_chief:
        _receive_others(cluster, deadline)
    else:
        _listen(cluster).close()  # a port in use is found out now, and not by TensorFlow
        _report_to_chief(cluster, deadline)


def _receive_others(cluster: Cluster, deadline: float) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(_listen(cluster)))
        arrived: dict[int, socket.socket] = {}
        while len(arrived) < len(cluster.addresses) - 1:
            connection, task = _accept(listener, cluster, arrived, deadline)
            if task not in range(1, len(cluster.addresses)):
                connection.close()
                continue
            if task in arrived:
                line = f"{cluster.name(task)}: two machines have --task {task}; each needs its own"
                _answer({**arrived, -1: connection}, line)
                raise CharlmError(line)
            arrived[task] = stack.enter_context(contextlib.closing(connection))
        listener.close()
        _answer(arrived, GO.decode())


def _accept(
    listener: socket.socket, cluster: Cluster, arrived: Mapping[int, socket.socket], deadline: float
) -> tuple[socket.socket, int]:
    """Return a new connection and the task that it sends, -1 if it sends anything else."""
    listener.settimeout(max(0.01, deadline - time.monotonic()))
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        missing = [task for task in range(1, len(cluster.addresses)) if task not in arrived]
        names = ", ".join(map(cluster.name, missing))
        line = f"{names}: has not come within {cluster.start_seconds:g} s; start all machines within that time"
        _answer(arrived, line)
        raise WorkerLostError(line) from None
    connection.settimeout(PATIENCE_SECONDS)
    try:
        greeting = connection.recv(MAX_GREETING_BYTES).split()
        return connection, int(greeting[1]) if len(greeting) == 2 and greeting[0] == GREETING.split()[0] else -1
    except (OSError, ValueError):
        return connection, -1


def _answer(connections: Mapping[int, socket.socket], line: str) -> None:
    for connection in connections.values():
        with contextlib.suppress(OSError):
            connection.sendall(line.encode())


def _report_to_chief(cluster: Cluster, deadline: float) -> None:
    host, port = _parts(cluster.addresses[0])
    late = WorkerLostError(
        f"{cluster.name(0)}: has not come within {cluster.start_seconds:g} s; start all machines within that time"
    )
    while True:
        if (remaining := deadline - time.monotonic()) <= 0:
            raise late
        try:
            with socket.create_connection((host, port), timeout=remaining) as connection:
                connection.sendall(GREETING % cluster.task)
                connection.settimeout(cluster.start_seconds + PATIENCE_SECONDS)  # the chief may have come later
                answer = connection.makefile("rb").read(1000).decode(errors="replace").strip()
        except (OSError, TimeoutError):
            answer = ""
        if answer == GO.decode().strip():
            return
        if answer:
            raise WorkerLostError(answer)
        time.sleep(RETRY_SECONDS)


def _listen(cluster: Cluster) -> socket.socket:
    """Return a socket that listens at the address of this machine."""
    host, port = _parts(cluster.addresses[cluster.task])
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=len(cluster.addresses)
        )
    except OSError as error:
        raise CharlmError(
            f"{cluster.name(cluster.task)}: cannot listen there: {error.strerror}; is the port in use, or --task wrong?"
        ) from None


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
