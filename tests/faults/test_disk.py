"""A disk that cannot be written: training ends with an error in one line, and earlier files stay valid."""

import os
import resource
from errno import EFBIG
from pathlib import Path

import pytest
from corpora import write_plays
from processes import run_process, settings
from run_folders import read_metrics

from charlm.network.model_file import read_model
from charlm.training import checkpoints

pytestmark = pytest.mark.slow

SETTINGS = (
    *("training.steps=100000", "training.log_every=1", "training.evaluations=1000"),
    "sampling.length=0",
)


def test_a_disk_that_takes_no_more_ends_training_with_an_error_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    run, text = tmp_path / "run", write_plays(tmp_path / "text.txt")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))

    ended = run_process("train", text, "-c", "tiny", *settings(*SETTINGS), "-r", run, preexec_fn=limit)
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert "Traceback" not in ended.stderr
    last = ended.stderr.replace("\r", "\n").splitlines()[-1]
    assert last.startswith("charlm: ")
    assert last.endswith(f": cannot be written: {os.strerror(EFBIG)}")
    step = checkpoints.restore(run / "checkpoints", warn=pytest.fail).facts.progress.step
    assert step >= 20
    resumed = run_process("train", "--resume", "-r", run, "-s", f"training.steps={step + 5}")
    assert resumed.returncode == 0, resumed.stderr
    assert {read_model(run / name).facts["step"] for name in ("best.safetensors", "last.safetensors")} <= {
        *range(20, step + 6)
    }
    steps = [line["step"] for line in read_metrics(run) if line["split"] == "train"]
    assert steps == list(range(1, step + 6))
