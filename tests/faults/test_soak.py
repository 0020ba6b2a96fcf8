"""What the soak script reads and reckons; the hour itself is not part of the tests."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from faults.soak import Reading, growth, read_process, watch

linux_only = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")


@linux_only
def test_an_open_file_and_a_thread_are_counted(tmp_path: Path) -> None:
    before, release = read_process(os.getpid()), threading.Event()
    thread = threading.Thread(target=release.wait)
    with (tmp_path / "file").open("wb"):
        thread.start()
        after = read_process(os.getpid())
        release.set()
        thread.join()
    assert (after.open_files, after.threads) == (before.open_files + 1, before.threads + 1)


@linux_only
def test_a_process_is_watched_until_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        readings = watch(process, minutes=0.2 / 60, every_seconds=0.1)
        process.kill()
    assert len(readings) == 2
    assert all(reading.resident_mb > 1 for reading in readings)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_growth_is_counted_from_the_highest_of_the_first_tenth() -> None:
    readings = [Reading(10.0, 5, 2), Reading(30.0, 6, 3), *[Reading(20.0, 6, 3)] * 17, Reading(31.0, 7, 3)]
    assert growth(readings) == Reading(1.0, 1, 0)
