"""A disk that cannot be written: training ends with an error in one line, and earlier files stay valid."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from errno import EFBIG, ENOSPC
from pathlib import Path

import pytest
from faults.kill import write_plays
from processes import run_process, settings
from run_folders import read_metrics

from charlm.network.model_file import read_model
from charlm.runs.folder import saved_steps
from charlm.training import checkpoints

pytestmark = pytest.mark.slow

SETTINGS = (
    *("training.steps=100000", "training.log_every=1", "training.evaluations=1000"),
    "sampling.length=0",
)


def check_ends_with_an_error(run: Path, error: int, *, before: Callable[[], None] | None = None) -> None:
    """Train in a process of its own, in which `before` is called first, until it cannot write."""
    text = write_plays(run.with_name("text.txt"))
    ended = run_process("train", text, "-c", "tiny", *settings(*SETTINGS), "-r", run, preexec_fn=before)
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert "Traceback" not in ended.stderr
    last = ended.stderr.replace("\r", "\n").splitlines()[-1]
    assert last.startswith("charlm: ")
    assert last.endswith(f": cannot be written: {os.strerror(error)}")
    check_files(run)


def check_files(run: Path) -> None:
    """Read the newest checkpoint, both models and every line of metrics.jsonl."""
    assert checkpoints.restore(run / "checkpoints", warn=pytest.fail).facts.progress.step >= 20
    assert [read_model(run / name).facts["step"] >= 20 for name in ("best.safetensors", "last.safetensors")] == [
        True,
        True,
    ]
    steps = [line["step"] for line in read_metrics(run) if line["split"] == "train"]
    assert steps == list(range(1, len(steps) + 1))


def test_a_limit_on_file_sizes_ends_training_with_an_error_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))

    run = tmp_path / "run"
    check_ends_with_an_error(run, EFBIG, before=limit)
    step = saved_steps(run / "checkpoints")[0]
    resumed = run_process("train", "--resume", "-r", run, "-s", f"training.steps={step + 5}")
    assert resumed.returncode == 0, resumed.stderr
    check_files(run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the permission to mount a file system")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_ends_training_with_an_error(small_disk: Path) -> None:
    check_ends_with_an_error(small_disk / "run", ENOSPC)
