"""Lose processes of a run that several train together, go on with another number, and compare the end.

    PYTHONPATH=tests python tests/faults/lose_workers.py --faults 15 --workers 2 --seed 1

The faults take turns: a worker or the chief is killed or stopped, the chief is killed while it writes a checkpoint, a
worker gets SIGTERM. After each, the other processes must end in time with the right exit code and a line that names the
lost one, and a stopped process must end as soon as it goes on. Then the run is resumed, in turn with as many workers,
with one and with four. At the end it must be the same to the byte as a run of one process that nothing disturbed.
"""

import argparse
import itertools
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from faults.kill import differences, newest_step, temporary_files
from faults.loopback import (
    LIMIT_SECONDS,
    WORKER_LOST,
    Process,
    finish,
    free_addresses,
    killed_at_the_end,
    start,
    wait_for_checkpoint,
)

from charlm.config.recipes import DEFAULT_CORPUS

STEPS_PER_FAULT = 60
SPARE_SECONDS = 30
"""How much longer than --worker-timeout the others may take to end, on a busy machine."""
PARTIAL_CHECKPOINT = re.compile(r"\.step-(\d+)\.\d+\.tmp")
TERMINATED = 128 + signal.SIGTERM


class Fault(Enum):
    """What happens to a process."""

    WORKER_KILLED = "a worker killed"
    WORKER_STOPPED = "a worker stopped"
    CHIEF_KILLED = "the chief killed"
    CHIEF_STOPPED = "the chief stopped"
    CHIEF_KILLED_WRITING = "the chief killed while it writes a checkpoint"
    WORKER_TERMINATED = "SIGTERM to a worker"

    @property
    def signal(self) -> signal.Signals:
        """The signal that the process gets."""
        if self is Fault.WORKER_TERMINATED:
            return signal.SIGTERM
        return signal.SIGSTOP if self in {Fault.WORKER_STOPPED, Fault.CHIEF_STOPPED} else signal.SIGKILL

    @property
    def is_of_chief(self) -> bool:
        """Whether the process is worker 0."""
        return self in {Fault.CHIEF_KILLED, Fault.CHIEF_STOPPED, Fault.CHIEF_KILLED_WRITING}


ALONE = (Fault.CHIEF_KILLED, Fault.CHIEF_KILLED_WRITING)
"""The faults of a single process."""


@dataclass(frozen=True)
class Victim:
    """The process that a fault happens to."""

    fault: Fault
    task: int
    name: str
    """How messages call it."""

    def expected(self, task: int) -> tuple[int, str]:
        """Return with which exit code a process must end then, and what it must say."""
        if self.fault is Fault.WORKER_TERMINATED:
            return 0 if task else TERMINATED, "stopped by SIGTERM"
        if task != self.task:
            return WORKER_LOST, f"{self.name}: lost; continue with --resume"
        if self.fault.signal == signal.SIGSTOP:
            return WORKER_LOST, "lost; continue with --resume"
        return -self.fault.signal, ""


@dataclass(frozen=True)
class Ending:
    """How the processes of a run ended after a fault."""

    fault: Fault
    workers: int
    step: int
    """The step of the newest checkpoint after it."""
    seconds: float
    """From the fault to the end of all other processes."""
    problems: tuple[str, ...]
    """What must not be, a line each."""

    def __str__(self) -> str:
        verdict = "; ".join(self.problems) or "as it must be"
        return f"{self.workers} workers, step {self.step}, {self.fault.value}: {self.seconds:.1f} s, {verdict}"


def plan_faults(count: int, *, workers: int) -> Iterator[tuple[int, Fault]]:
    """Yield how many workers train and what happens then, `count` times; all kinds and numbers take turns."""
    several, alone = itertools.cycle(Fault), itertools.cycle(ALONE)
    for number in itertools.islice(itertools.cycle((workers, 1, 4)), count):
        yield number, next(several if number > 1 else alone)


def train_undisturbed(folder: Path, *, steps: int) -> Path:
    """Train in folder/run with one process; return the run."""
    (process,) = start([None], _write_text(folder), folder / "run", steps=steps)
    code, printed = finish(process)
    assert code == 0, printed
    return folder / "run"


def train_with_faults(
    folder: Path,
    *,
    steps: int,
    faults: Sequence[tuple[int, Fault]],
    worker_timeout: float,
    rng: random.Random,
    say: Callable[[str], object],
) -> tuple[Path, list[Ending]]:
    """Train in folder/run, while processes are lost; the last stretch is trained by one process.

    Args:
        folder: A new folder.
        steps: The steps of the run; STEPS_PER_FAULT for each fault and some more.
        faults: How many workers train, and what happens then.
        worker_timeout: After how many seconds a process that does not answer is lost.
        rng: Decides the steps and the workers.
        say: Called with a line for each fault.

    Returns:
        The run, and how each fault ended.

    """
    run, text, endings = folder / "run", _write_text(folder), []
    for index, (workers, fault) in enumerate(faults):
        addresses = free_addresses(workers)
        processes = start(
            range(workers) if workers > 1 else [None],
            None if index else text,
            run,
            steps=steps,
            addresses=addresses,
            options=["--worker-timeout", str(worker_timeout)],
            resume=bool(index),
        )
        task = 0 if fault.is_of_chief else rng.randrange(1, workers)
        victim = Victim(fault, task, f"worker {task} ({addresses[task]})")
        with killed_at_the_end(processes):
            wait_for_checkpoint(run, processes, step=newest_step(run) + rng.randint(1, STEPS_PER_FAULT // 2))
            endings.append(_disturb(run, processes, victim, worker_timeout=worker_timeout))
        say(f"fault {index + 1}: {endings[-1]}")
    (last,) = start([None], None, run, steps=steps, resume=True)
    code, printed = finish(last)
    assert code == 0, printed
    return run, endings


def _write_text(folder: Path) -> Path:
    folder.mkdir()
    text = folder / "text.txt"
    text.write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    return text


def _disturb(run: Path, processes: Sequence[Process], victim: Victim, *, worker_timeout: float) -> Ending:
    """Let a fault happen to a process, and wait until all have ended."""
    process = processes[victim.task]
    if victim.fault is Fault.CHIEF_KILLED_WRITING:
        _stop_while_writing(run, process)
    process.send_signal(victim.fault.signal)
    started = time.monotonic()
    results = {task: finish(other) for task, other in enumerate(processes) if other is not process}
    seconds = time.monotonic() - started
    process.send_signal(signal.SIGCONT)
    results[victim.task] = finish(process)
    problems = [line for task in sorted(results) for line in _problems(victim, task, *results[task])]
    if seconds > worker_timeout + SPARE_SECONDS:
        problems.append(f"took {seconds:.0f} s")
    return Ending(victim.fault, len(processes), newest_step(run), seconds, tuple(problems))


def _stop_while_writing(run: Path, chief: Process) -> None:
    """Stop the chief at a moment at which it has written a part of a checkpoint."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline and chief.poll() is None:
        if _is_writing(run):
            chief.send_signal(signal.SIGSTOP)
            time.sleep(0.01)
            if _is_writing(run):  # it had not finished before it stopped
                return
            chief.send_signal(signal.SIGCONT)
    raise AssertionError("the chief was never seen to write a checkpoint")


def _is_writing(run: Path) -> bool:
    """Return whether there is a part of a checkpoint that is newer than all complete ones."""
    partial = (PARTIAL_CHECKPOINT.match(name) for name in temporary_files(run))
    return any(int(found[1]) > newest_step(run) for found in partial if found)


def _problems(victim: Victim, task: int, code: int, printed: str) -> Iterator[str]:
    """Yield what is wrong about how a process ended."""
    expected, line = victim.expected(task)
    last = printed.strip().rpartition("\n")[2]
    if code != expected:
        yield f"worker {task}: exit code {code}, not {expected}: {last}"
    if line not in printed:
        yield f"worker {task}: does not say {line!r}: {last}"
    if "Traceback" in printed:
        yield f"worker {task}: a traceback"


def main(arguments: Sequence[str] | None = None) -> None:
    """Disturb a run as the command line says; exit with code 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=15)
    parser.add_argument("--workers", type=int, default=2, help="with how many the run begins; 2 or more")
    parser.add_argument("--worker-timeout", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    steps = STEPS_PER_FAULT * (options.faults + 2)
    with tempfile.TemporaryDirectory() as scratch:
        undisturbed = train_undisturbed(Path(scratch) / "undisturbed", steps=steps)
        disturbed, endings = train_with_faults(
            Path(scratch) / "disturbed",
            steps=steps,
            faults=[*plan_faults(options.faults, workers=options.workers)],
            worker_timeout=options.worker_timeout,
            rng=random.Random(options.seed),
            say=lambda line: print(line, flush=True),
        )
        found = differences(undisturbed, disturbed)
    failed = sum(bool(ending.problems) for ending in endings)
    print(f"{len(endings)} faults in {steps} steps, {failed} of them ended wrongly")
    print(f"differs: {', '.join(found)}" if found else "the same to the byte")
    sys.exit(1 if found or failed else 0)


if __name__ == "__main__":
    main()
