"""Several processes read the files of a corpus: the same bytes as from one, and no process stays behind."""

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from backports import zstd
from worker_tasks import end_at, fail_late_and_early

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.tokenization import tokenize
from charlm.text.workers import worker_processes

pytestmark = pytest.mark.slow

SLOW_FILES = 40


def test_results_come_in_the_order_of_the_tasks() -> None:
    with worker_processes(2) as run:
        assert list(run(abs, range(-20, 0))) == list(range(20, 0, -1))


def test_the_first_error_in_the_order_of_the_tasks_is_raised() -> None:
    with pytest.raises(CharlmError, match="task 1"), worker_processes(2) as run:
        list(run(fail_late_and_early, [1, 2, 3]))


def test_a_killed_worker_is_an_error_in_a_line() -> None:
    with pytest.raises(CharlmError, match="--workers 2: one of these processes was ended"), worker_processes(2) as run:
        list(run(end_at, range(10)))


def write_files(folder: Path) -> Path:
    """Write small and large, plain and compressed files; return their folder."""
    rng = random.Random(0)
    sources = folder / "sources"
    sources.mkdir()
    for index in range(30):
        text = "".join(rng.choices("abc é中😀\n", k=rng.randint(0, 40)))
        (sources / f"{index:02}.txt").write_text(text, encoding="utf-8")
    large = "".join(rng.choices("abc é中😀\n", k=100_000)).encode()
    (sources / "large.txt").write_bytes(large)
    (sources / "packed.gz").write_bytes(gzip.compress(large[:3000]))
    (sources / "packed.zst").write_bytes(zstd.compress(large[:2999].decode(errors="ignore").encode()))
    return sources


def files_of(corpus: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.iterdir()}


@pytest.mark.parametrize("settings", [{}, {"normalize": "NFC"}, {"min_count": 4000}, {"level": "byte"}], ids=str)
def test_two_workers_write_the_bytes_of_one(tmp_path: Path, settings: dict[str, str]) -> None:
    sources, config = str(write_files(tmp_path)), CorpusConfig.model_validate(settings)
    tokenize([sources], tmp_path / "one", config)
    steps: list[int] = []
    tokenize([sources], tmp_path / "two", config, workers=2, piece_bytes=10_000, advance=steps.append)
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert sum(steps) == 2 * sum(path.stat().st_size for path in Path(sources).iterdir())


@pytest.fixture
def slow_command(tmp_path: Path) -> list[str]:
    """Return a command with two workers that takes some seconds and writes to `out` in the current folder."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for index in range(SLOW_FILES):
        (sources / f"{index}.txt").write_text("Тот же déjà vu 😀 " * 200_000, encoding="utf-8")
    return [*(sys.executable, "-m", "charlm"), *("tokenize", "sources", "--out", "out", "--workers", "2")]


def children_of(process: int) -> set[int]:
    """Return the running processes that a process has started."""
    found = Path(f"/proc/{process}/task/{process}/children")
    return {int(child) for child in found.read_text().split()} if found.exists() else set()


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc")
@pytest.mark.parametrize(("piece_bytes", "started"), [(4000, 0), (2000, 2)])
def test_a_process_is_started_for_each_five_batches(tmp_path: Path, piece_bytes: int, started: int) -> None:
    source = tmp_path / "text.txt"
    source.write_text("abcd\n" * 4000, encoding="utf-8")
    resource_tracker.ensure_running()  # a process of Python's own beside the first that is started
    before = children_of(os.getpid())
    seen: set[int] = set()

    def look(_: int) -> None:
        """Note the processes that run while the text is read."""
        seen.update(children_of(os.getpid()) - before)

    tokenize([str(source)], tmp_path / "out", CorpusConfig(), workers=4, piece_bytes=piece_bytes, advance=look)
    assert len(seen) == started


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc")
def test_after_a_kill_no_worker_is_left_and_the_command_begins_again_cleanly(
    tmp_path: Path, slow_command: list[str]
) -> None:
    with subprocess.Popen(slow_command, cwd=tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.glob(".charlm-out-*/corpus/ids.bin"))) == 1)
        workers = children_of(process.pid)
        process.kill()
    assert len(workers) >= 2
    wait_until(lambda: not any(map(is_running, workers)))
    assert len(list(tmp_path.glob(".charlm-out-*"))) == 1
    subprocess.run(slow_command, cwd=tmp_path, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "sources"]


def test_ctrl_c_ends_all_processes_without_a_traceback_and_leaves_nothing(
    tmp_path: Path, slow_command: list[str]
) -> None:
    with subprocess.Popen(
        slow_command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_until(lambda: len(list(tmp_path.glob(".charlm-out-*/corpus/ids.bin"))) == 1)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    assert [path.name for path in tmp_path.iterdir()] == ["sources"]
