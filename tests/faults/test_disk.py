"""A disk that cannot be written: training ends with an error in one line, and earlier files stay valid."""

import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import run_process, settings

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.network.bundle import read_bundle
from charlm.runs.folder import saved_steps
from charlm.training import checkpoints

pytestmark = pytest.mark.slow

SETTINGS = (
    *("training.steps=100000", "training.log_every=1", "training.evaluate_every=20", "training.checkpoint_every=20"),
    "sampling.length=0",
)


def start(run: Path, *, before: Callable[[], None] | None = None) -> "subprocess.CompletedProcess[str]":
    """Train in a process of its own, in which `before` is called first."""
    text = run.with_name("text.txt")
    text.write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:10_000], encoding="utf-8")
    return run_process("train", text, "-c", "tiny", *settings(*SETTINGS), "-r", run, preexec_fn=before)


def assert_error_in_one_line(ended: "subprocess.CompletedProcess[str]", reason: str) -> None:
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    last = ended.stderr.replace("\r", "\n").splitlines()[-1]
    assert last.startswith("charlm: ")
    assert last.endswith(f": cannot be written: {reason}")


def assert_files_are_valid(run: Path) -> None:
    """Read the newest checkpoint, both bundles and every line of metrics.jsonl."""
    assert checkpoints.restore(run / "checkpoints", warn=pytest.fail).facts.progress.step >= 20
    assert [read_bundle(run / name).facts["step"] >= 20 for name in ("best", "last")] == [True, True]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == list(range(1, len(steps) + 1))


def test_a_limit_on_file_sizes_ends_training_with_an_error_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))

    ended = start(tmp_path / "run", before=limit)
    assert_error_in_one_line(ended, os.strerror(27))
    assert_files_are_valid(tmp_path / "run")
    step = saved_steps(tmp_path / "run/checkpoints")[0]
    resumed = run_process("train", "--resume", "-r", tmp_path / "run", "-s", f"training.steps={step + 5}")
    assert resumed.returncode == 0, resumed.stderr
    assert_files_are_valid(tmp_path / "run")


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
    assert_error_in_one_line(start(small_disk / "run"), "No space left on device")
    assert_files_are_valid(small_disk / "run")
