"""The speed of processes that train one run together on this machine, and the bytes that they exchange.

    PYTHONPATH=tests python tests/bench/cluster_speed.py
    unshare --net sh -c 'ip link set lo up; PYTHONPATH=tests python tests/bench/cluster_speed.py --bytes-only'

Three tables: the bytes of a step, measured as the traffic of the loopback device and reckoned; one process on all cores
beside two on half of them, in turn; and the speed of one, two and four processes by width and batch. The first counts
what other programs send over loopback as well, so run it in a network of its own, as in the second line. Each process
is bound to its cores. It takes about seven minutes.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.loopback import finish, free_addresses, killed_at_the_end, start

from charlm.config.file import load_config
from charlm.config.recipes import DEFAULT_CORPUS
from charlm.network.architecture import architecture
from charlm.network.bundle import read_bundle
from charlm.runs.metrics import read_speed
from charlm.training.scaling import exchanged_bytes, muon_weights

SECONDS = 6
"""How long each run is trained for its speed."""
SHORT, LONG = 20, 60
"""The steps of the two runs whose difference gives the bytes of a step."""
ROUNDS = 3
SHAPES = ((256, 32), (256, 256), (512, 64), (512, 256), (1024, 256))
"""Units and batch of the last table."""
NETWORK_DEVICES = Path("/proc/net/dev")
WINDOW = 64
NEVER = 1_000_000_000


@dataclass(frozen=True)
class Case:
    """What is trained."""

    units: int
    batch: int
    parts: int
    optimizer: str = "adam"

    def settings(self) -> list[str]:
        """Return the settings of the run; it is evaluated and saved at its end alone."""
        return [
            f"model.units={self.units}",
            f"training.batch_size={self.batch}",
            f"training.parts={self.parts}",
            f"training.optimizer.name={self.optimizer}",
            f"training.sequence_length={WINDOW}",
            "training.schedule.name=constant",
            f"training.evaluate_every={NEVER}",
            f"training.checkpoint_every={NEVER}",
        ]


def train(case: Case, run: Path, *, workers: int, steps: int, more: Sequence[str] = ()) -> None:
    """Train a run with some processes, each bound to its cores."""
    addresses, cores = free_addresses(workers), sorted(os.sched_getaffinity(0))
    processes = start(
        range(workers) if workers > 1 else [None],
        DEFAULT_CORPUS,
        run,
        steps=steps,
        settings=[*case.settings(), *more],
        addresses=addresses,
    )
    with killed_at_the_end(processes):
        for task, process in enumerate(processes):
            own = cores[task % len(cores) :: workers]
            os.sched_setaffinity(process.pid, own)  # before it counts them
        for process in processes:
            code, printed = finish(process)
            assert code == 0, printed


@dataclass(frozen=True)
class Step:
    """A step of a run that some processes train."""

    seconds: float
    """Evaluations and the start left out."""
    reckoned_bytes: int
    """What each process should receive."""


def time_steps(case: Case, *, workers: int) -> Step:
    """Train for SECONDS, and return the mean of the steps."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(case, run, workers=workers, steps=NEVER, more=[f"training.max_minutes={SECONDS / 60}"])
        speed = read_speed(run / "metrics.jsonl").characters_per_second
        assert speed is not None
        return Step(case.batch * WINDOW / speed, reckoned_bytes(run, parts=case.parts, workers=workers))


def loopback_bytes() -> int:
    """Return how many bytes the loopback device has received since it is up."""
    lines = NETWORK_DEVICES.read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.strip().startswith("lo:"))
    return int(line.partition(":")[2].split()[0])


def bytes_of_a_step(case: Case, *, workers: int) -> tuple[float, int]:
    """Return the bytes that each process receives in a step: measured, and reckoned."""
    with tempfile.TemporaryDirectory() as folder:
        received = []
        for steps in (SHORT, LONG):
            before = loopback_bytes()
            train(case, Path(folder) / str(steps), workers=workers, steps=steps)
            received.append(loopback_bytes() - before)
        reckoned = reckoned_bytes(Path(folder) / str(LONG), parts=case.parts, workers=workers)
    return (received[1] - received[0]) / (LONG - SHORT) / workers, reckoned


def reckoned_bytes(run: Path, *, parts: int, workers: int) -> int:
    """Return the bytes that each process should receive in a step of a run."""
    config, bundle = load_config(run / "config.yaml"), read_bundle(run / "last")
    shapes = architecture(config, bundle.architecture.vocabulary_size).shapes()
    matrices = muon_weights(shapes, config.training.optimizer)
    return exchanged_bytes(bundle.parameters.size, matrices=matrices, parts=parts, machines=workers)


def byte_rows() -> Iterator[str]:
    """Yield the table of the bytes of a step."""
    yield "| optimizer | parts | workers | MB a step, measured | reckoned | ratio |"
    yield "|---|---|---|---|---|---|"
    for optimizer, parts, workers in (("adam", 2, 2), ("adam", 4, 2), ("muon", 2, 2), ("muon", 3, 2), ("muon", 4, 4)):
        measured, reckoned = bytes_of_a_step(Case(256, 32, parts, optimizer), workers=workers)
        yield (
            f"| {optimizer} | {parts} | {workers} | {measured / 1e6:.3f} | {reckoned / 1e6:.3f} "
            f"| {measured / reckoned:.3f} |"
        )


def pair_rows() -> Iterator[str]:
    """Yield the table of one process on all cores beside two on half of them."""
    yield "| units | batch | 1 worker, ms a step | 2 workers | speed of 2 to 1, median of the rounds |"
    yield "|---|---|---|---|---|"
    for units, batch in ((512, 64), (512, 256)):
        case = Case(units, batch, parts=2)
        rounds = [[time_steps(case, workers=workers).seconds for workers in (1, 2)] for _ in range(ROUNDS)]
        one, two = (1000 * statistics.median(times) for times in zip(*rounds, strict=True))
        ratio = statistics.median(alone / shared for alone, shared in rounds)
        yield f"| {units} | {batch} | {one:.1f} | {two:.1f} | {ratio:.2f} |"


def speed_rows() -> Iterator[str]:
    """Yield the table of speed by width, batch and number of processes."""
    yield "| units | batch | MB a step with 2, 4 workers | 1 worker, ms a step | 2 workers | 4 workers |"
    yield "|---|---|---|---|---|---|"
    for units, batch in SHAPES:
        case = Case(units, batch, parts=4)
        steps = [time_steps(case, workers=workers) for workers in (1, 2, 4)]
        sizes = ", ".join(f"{step.reckoned_bytes / 1e6:.1f}" for step in steps[1:])
        times = " | ".join(f"{1000 * step.seconds:.1f}" for step in steps)
        yield f"| {units} | {batch} | {sizes} | {times} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes-only", action="store_true", help="measure the bytes of a step, and no speed")
    options = parser.parse_args()
    for rows in [byte_rows] if options.bytes_only else [byte_rows, pair_rows, speed_rows]:
        for row in rows():
            print(row, flush=True)
        print()


if __name__ == "__main__":
    main()
