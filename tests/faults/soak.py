"""Watch a long `charlm train` from outside: its memory, open files and threads must not grow.

    python tests/faults/soak.py --minutes 60
    python tests/faults/soak.py --minutes 60 mytext.txt -c shakespeare -s training.epochs=100

All arguments except --minutes and --every are passed to `charlm train`; by default it trains a small network that is
evaluated and saved often. A line is printed every minute, and at the end the growth since the first tenth of the lines.
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
    """The resources of a process at one moment."""

    resident_mb: float
    open_files: int
    threads: int


def read_process(pid: int) -> Reading:
    """Return the present resources of a process, from /proc."""
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text(encoding="utf-8").splitlines())
    resident_mb = int(status["VmRSS"].split()[0]) / 1024
    return Reading(resident_mb, len(list((process / "fd").iterdir())), int(status["Threads"]))


def watch(process: "subprocess.Popen[bytes]", *, minutes: float, every_seconds: float) -> list[Reading]:
    """Print and return the resources of a process at regular intervals, until the time is over or it ends."""
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
    """Return the last reading minus the highest of the first tenth, during which memory stabilizes."""
    settled = readings[: max(1, len(readings) // 10)]
    mb, files, threads = (
        last - max(first) for last, first in zip(readings[-1], zip(*settled, strict=True), strict=True)
    )
    return Reading(mb, files, threads)


def main() -> None:
    """Train for some minutes, and print what has grown."""
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
