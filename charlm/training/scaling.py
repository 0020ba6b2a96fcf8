"""What a step takes on several machines, reckoned from steps that were timed on one; no TensorFlow.

Each machine computes its parts of the batch, then receives what the others have computed:

    seconds(M) = repeated + each * turns(M) + 8 * bytes(M) / bandwidth

turns(M) is how many rows of the batch a core computes one after another. `repeated` is what every machine does whatever
its share, such as the optimizer; it and `each` follow from two timings. What the network takes beside its bandwidth is
not counted, nor that a machine could compute while it receives.

M machines, P parts of a batch of B rows, W weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from charlm.config.schema import OptimizerConfig
from charlm.training.cluster import MAX_WORKERS, cluster_parts
from charlm.training.parts import spans_of

FLOAT_BYTES = 4
WORTHWHILE = 1.1
"""Twice as many machines pay if they are at least so much faster."""


def exchanged_bytes(weights: int, *, matrices: int, parts: int, machines: int) -> int:
    """Return how many bytes each machine receives from the others in a step; it sends as many.

    These are the sums of the gradients and the loss of the others (see `charlm.training.parts`), and each matrix that
    Muon has orthogonalized. An all-gather takes as many sums from every machine as from the one with the most, and Muon
    gathers a matrix of every machine although one of them has computed it. So a machine with S sums receives

        bytes(M) = 4 (M - 1) (S (W + 1) + W_Muon)

    Args:
        weights: W, the weights of the network.
        matrices: W_Muon, how many of them are in matrices that Muon orthogonalizes.
        parts: P, at least as many as machines.
        machines: M, 1 or more.

    """
    sums = max(map(len, spans_of(parts, machines=machines)))
    return FLOAT_BYTES * (machines - 1) * (sums * (weights + 1) + matrices)


def muon_weights(shapes: Mapping[str, tuple[int, ...]], optimizer: OptimizerConfig) -> int:
    """Return how many weights are in the matrices that Muon orthogonalizes; its `exclude_layers` is not considered.

    Args:
        shapes: The shape of each tensor by its name in weights.safetensors.
        optimizer: The optimizer; another one than Muon orthogonalizes nothing.

    """
    if optimizer.name.lower() != "muon":
        return 0
    excluded = {"embedding"} if optimizer.arguments.get("exclude_embeddings", True) else set()
    return sum(math.prod(shape) for name, shape in shapes.items() if len(shape) == 2 and name not in excluded)


@dataclass(frozen=True)
class ClusterStep:
    """A step of several machines, as far as each of them is concerned."""

    machines: int
    parts: int
    """The parts of the batch on all machines."""
    machine_parts: int
    """The parts of the machine with the most, which the others wait for."""
    machine_rows: int
    """The rows of the batch in these parts."""
    compute_seconds: float
    exchanged_bytes: int
    """What each machine receives, and what it sends."""
    exchange_seconds: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.compute_seconds + self.exchange_seconds


@dataclass(frozen=True)
class Scaling:
    """Reckons the steps of any number of machines from two timings."""

    weights: int
    """W, the weights of the network."""
    matrices: int
    """Those of them that Muon orthogonalizes; see `muon_weights`."""
    batch_size: int
    """B, the rows of a batch."""
    parts: int | None
    """P; None = `cluster_parts`."""
    cores: int
    """The cores of each machine."""
    bandwidth: float
    """Of the network of each machine in bits per second, in each direction."""
    alone_seconds: float
    """A step on one machine, timed."""
    timed_machines: int
    """The M of the second timing."""
    share_seconds: float
    """What one of so many machines computes in a step, timed."""

    def step(self, machines: int) -> ClusterStep:
        """Return the step of a number of machines, 1 to `most_machines`."""
        parts = self._parts(machines)
        machine_parts = math.ceil(parts / machines)
        rows, larger = divmod(self.batch_size, parts)
        received = exchanged_bytes(self.weights, matrices=self.matrices, parts=parts, machines=machines)
        return ClusterStep(
            machines=machines,
            parts=parts,
            machine_parts=machine_parts,
            machine_rows=machine_parts * rows + min(machine_parts, larger),
            compute_seconds=self._compute_seconds(machines),
            exchanged_bytes=received,
            exchange_seconds=8 * received / self.bandwidth,
        )

    def speedup(self, machines: int) -> float:
        """Return how many times as fast as one machine a number of machines is."""
        return self.alone_seconds / self.step(machines).seconds

    @property
    def most_machines(self) -> int:
        """The most machines that each get a part of the batch, at most MAX_WORKERS."""
        return min(self.batch_size, self.parts or self.batch_size, MAX_WORKERS)

    @property
    def worthwhile_machines(self) -> int:
        """The first of 1, 2, 4, ... machines of which twice as many would not be WORTHWHILE times as fast."""
        machines = 1
        while 2 * machines <= self.most_machines:
            if self.step(machines).seconds < WORTHWHILE * self.step(2 * machines).seconds:
                break
            machines *= 2
        return machines

    def _parts(self, machines: int) -> int:
        parts = self.parts or cluster_parts(self.batch_size, workers=machines, cores=self.cores)
        return min(parts, self.batch_size)

    def _turns(self, machines: int) -> int:
        """Return how many rows the core with the most computes one after another."""
        parts = self._parts(machines)
        machine_parts = math.ceil(parts / machines)
        return math.ceil(self.batch_size / parts) * math.ceil(machine_parts / self.cores)

    def _compute_seconds(self, machines: int) -> float:
        """Return what a machine computes in a step: the line through both timings, over the turns."""
        alone, share = self._turns(1), self._turns(self.timed_machines)
        each = max(0.0, self.alone_seconds - self.share_seconds) / max(1, alone - share)
        return max(0.0, self.share_seconds + each * (self._turns(machines) - share))
