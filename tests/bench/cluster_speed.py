"""The speed of processes that train one run together on this machine.

    PYTHONPATH=tests python tests/bench/cluster_speed.py

A table by width and batch: one process on all cores beside two on half of them, in turn, each bound to its cores. So it
shows what the exchange over loopback costs, without a slow network. It takes about five minutes.
"""

import os
import statistics
import tempfile
from pathlib import Path

from faults.loopback import finish, free_addresses, killed_at_the_end, start

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.runs.metrics import read_position

SHAPES = ((256, 32), (256, 256), (512, 64), (512, 256), (1024, 256))
"""Units and batch."""
STEPS = 100
ROUNDS = 3
WINDOW = 64
NEVER = 1_000_000_000


def step_seconds(units: int, batch: int, *, workers: int) -> float:
    """Train with some processes, each bound to its cores; return the seconds of a step, without the start."""
    settings = [
        f"model.units={units}",
        f"training.batch_size={batch}",
        "training.parts=2",
        f"training.sequence_length={WINDOW}",
        "training.schedule.name=constant",
        f"training.evaluate_every={NEVER}",
        f"training.checkpoint_every={NEVER}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        run, cores = Path(folder) / "run", sorted(os.sched_getaffinity(0))
        processes = start(
            range(workers) if workers > 1 else [None],
            DEFAULT_CORPUS,
            run,
            steps=STEPS,
            settings=settings,
            addresses=free_addresses(workers),
        )
        with killed_at_the_end(processes):
            for task, process in enumerate(processes):
                os.sched_setaffinity(process.pid, cores[task % len(cores) :: workers])  # before it counts them
            for process in processes:
                code, printed = finish(process)
                assert code == 0, printed
        speed = read_position(run / "metrics.jsonl").characters_per_second
    assert speed is not None
    return batch * WINDOW / speed


def main() -> None:
    """Print the table."""
    print("| units | batch | 1 worker, ms a step | 2 workers | speed of 2 to 1, median of the rounds |")
    print("|---|---|---|---|---|")
    for units, batch in SHAPES:
        rounds = [[step_seconds(units, batch, workers=workers) for workers in (1, 2)] for _ in range(ROUNDS)]
        one, two = (1000 * statistics.median(times) for times in zip(*rounds, strict=True))
        ratio = statistics.median(alone / shared for alone, shared in rounds)
        print(f"| {units} | {batch} | {one:.1f} | {two:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
