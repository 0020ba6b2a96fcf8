"""The machines of a cluster wait for each other before TensorFlow connects them.

TensorFlow waits without end, cannot be interrupted while it does, and does not say for whom it waits. So every machine
first tells the chief that it is there, over one connection to the address at which the chief's TensorFlow will listen.
When all have come, the chief answers each of them, and all start TensorFlow at the same time.
"""

import contextlib
import socket
import time
from collections.abc import Mapping

from charlm.errors import CharlmError
from charlm.training.cluster import Cluster, WorkerLostError

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
        line = f"{names}: has not come within {cluster.start_seconds:g} s; start it, or wait longer: --start-timeout"
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
        f"{cluster.name(0)}: has not come within {cluster.start_seconds:g} s; start it, or wait longer: --start-timeout"
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
