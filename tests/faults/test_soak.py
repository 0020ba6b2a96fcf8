"""The readings and the calculation of the soak script; a long training is not part of the tests."""

import subprocess
import sys
from pathlib import Path

import pytest
from faults.soak import Reading, growth, read_process, watch

pytestmark = pytest.mark.slow

THREAD = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
linux_only = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


@linux_only
@pytest.mark.parametrize(
    ("action", "files", "threads"), [("", 0, 0), ("file = open('/dev/null')", 1, 0), (THREAD, 0, 1)]
)
def test_an_open_file_and_a_thread_are_counted(action: str, files: int, threads: int) -> None:
    program = f"import sys, threading\n{action}\nprint(flush=True)\nsys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        reading = read_process(process.pid)
        process.kill()
    assert (reading.open_files, reading.threads) == (3 + files, 1 + threads)


@linux_only
def test_a_process_is_watched_until_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        readings = watch(process, minutes=0.2 / 60, every_seconds=0.1)
        process.kill()
    assert len(readings) == 2
    assert all(reading.resident_mb > 1 for reading in readings)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_growth_is_measured_from_the_highest_of_the_first_tenth() -> None:
    readings = [Reading(10.0, 5, 2), Reading(30.0, 6, 3), *[Reading(20.0, 6, 3)] * 17, Reading(31.0, 7, 3)]
    assert growth(readings) == Reading(1.0, 1, 0)
