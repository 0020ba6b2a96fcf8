"""What several machines like this one would make of a training, without them: a share of a step is timed here."""

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from charlm.errors import CharlmError
from charlm.hardware import core_count
from charlm.network.architecture import architecture
from charlm.runs.run import Run
from charlm.training.cluster import settle_cluster_parts
from charlm.training.scaling import ClusterStep, Scaling, muon_weights
from charlm.training.signals import StopRequest
from charlm.training.timing import Rehearsal, rehearse

BANDWIDTH = 10e9
"""The bandwidth of a network in bits per second, unless the user says otherwise."""


@dataclass(frozen=True)
class ClusterPlan:
    """What several machines like this one would make of a training, reckoned."""

    scaling: Scaling
    """Reckons the steps of other numbers of machines as well."""
    run_seconds: float
    """How long the run takes after its start, evaluations and checkpoints included."""

    @property
    def step(self) -> ClusterStep:
        """A step of these machines."""
        return self.scaling.step(self.scaling.timed_machines)

    def to_json(self) -> dict[str, Any]:
        """Return the reckoning as plain data."""
        return {
            **asdict(self.step),
            "step_seconds": self.step.seconds,
            "bandwidth_bits_per_second": self.scaling.bandwidth,
            "speedup": self.scaling.speedup(self.scaling.timed_machines),
            "worthwhile_machines": self.scaling.worthwhile_machines,
            "run_seconds": self.run_seconds,
        }


def check_cluster(workers: int, bandwidth: float) -> None:
    """Check what several machines are reckoned for.

    Raises:
        CharlmError: there are fewer than two workers, or the bandwidth is not a positive number.

    """
    if workers < 2:
        raise CharlmError(f"workers: found {workers}; must be 2 or more")
    if not 0 < bandwidth < math.inf:
        raise CharlmError(f"bandwidth: found {bandwidth:g}; must be a number above 0")


def plan_cluster(
    run: Run,
    alone: Rehearsal,
    *,
    workers: int,
    parts: int | None,
    steps: int,
    bandwidth: float,
    request: StopRequest,
    step_seconds: float,
) -> ClusterPlan:
    """Time what one of several machines computes in a step, and reckon the rest.

    Args:
        run: Its config and corpus.
        alone: The timed steps of this machine alone.
        workers: The number of machines, 2 or more.
        parts: The setting `training.parts` as the user gave it.
        steps: The steps of the whole run.
        bandwidth: Of the network of each machine in bits per second, more than 0.
        request: The stop request of a `stop_on_signal` block.
        step_seconds: How long to time steps, at least.

    Raises:
        CharlmError: there are fewer parts or rows of a batch than workers.
        Stopped: a signal came.

    """
    from charlm.engine.distribution import StandIn
    from charlm.engine.keras_engine import KerasEngine

    cores, shapes = core_count(), architecture(run.config, len(run.corpus.vocabulary)).shapes()
    training = run.config.training.model_copy(update={"parts": parts})
    config = settle_cluster_parts(run.config.model_copy(update={"training": training}), workers=workers, cores=cores)
    share = rehearse(
        config,
        run.corpus,
        partial(KerasEngine, machine=StandIn(workers)),
        request=request,
        step_seconds=step_seconds,
    )
    scaling = Scaling(
        weights=sum(map(math.prod, shapes.values())),
        matrices=muon_weights(shapes, training.optimizer),
        batch_size=alone.batches.batch_size,
        parts=parts,
        cores=cores,
        bandwidth=bandwidth,
        alone_seconds=alone.costs.step_seconds,
        timed_machines=workers,
        share_seconds=share.costs.step_seconds,
    )
    costs = replace(alone.costs, step_seconds=scaling.step(workers).seconds)
    return ClusterPlan(scaling, costs.run_seconds(training, steps))
