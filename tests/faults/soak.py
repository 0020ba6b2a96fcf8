"""Watches a long `charlm train` from outside: memory, open files and threads must not grow.

    python tests/faults/soak.py --minutes 60
    python tests/faults/soak.py --minutes 60 mytext.txt -c shakespeare -s training.epochs=100

Everything but --minutes and --every goes to `charlm train`; without it, a small network that evaluates and saves
often. Prints a line a minute, and at the end what has grown since the first tenth of the lines.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ARGUMENTS = ("-c", "tiny", "-s", "training.steps=1000000000", "-s", "training.schedule.name=constant")


class Reading(NamedTuple):
    """What a process holds at a moment."""

    resident_mb: float
    open_files: int
    threads: int


def read_process(pid: int) -> Reading:
    """Return what a process holds now, from /proc."""
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text(encoding="utf-8").splitlines())
    resident_mb = int(status["VmRSS"].split()[0]) / 1024
    return Reading(resident_mb, len(list((process / "fd").iterdir())), int(status["Threads"]))


def watch(process: "subprocess.Popen[bytes]", *, minutes: float, every_seconds: float) -> list[Reading]:
    """Print and return what a process holds, once in a while, until the time is over or it ends."""
    readings: list[Reading] = []
    print("minute  resident MB  open files  threads")
    for index in range(1, int(minutes * 60 / every_seconds) + 1):
        time.sleep(every_seconds)
        if process.poll() is not None:
            break
        readings.append(read_process(process.pid))
        mb, files, threads = readings[-1]
        print(f"{index * every_seconds / 60:6.1f}  {mb:11.1f}  {files:10}  {threads:7}", flush=True)
    return readings


def growth(readings: Sequence[Reading]) -> Reading:
    """Return the last reading less the highest of the first tenth, in which memory settles."""
    settled = readings[: max(1, len(readings) // 10)]
    mb, files, threads = (
        last - max(first) for last, first in zip(readings[-1], zip(*settled, strict=True), strict=True)
    )
    return Reading(mb, files, threads)


def main() -> None:
    """Train for some minutes, and tell what has grown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, help="seconds between two lines")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "charlm", "train", *(arguments or ARGUMENTS), "-r", f"{scratch}/run"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            readings = watch(process, minutes=options.minutes, every_seconds=options.every)
            process.send_signal(signal.SIGINT)
    if not readings:
        sys.exit("the training ended before the first reading")
    mb, files, threads = growth(readings)
    print(f"grown by {mb:.1f} MB, {files} files, {threads} threads")


if __name__ == "__main__":
    main()
