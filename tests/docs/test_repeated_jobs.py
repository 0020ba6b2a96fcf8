"""The script in docs/commands.md that trains on a growing text every night."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CAN_TRAIN
from models import weights_of
from pages import code_blocks, text_of
from processes import started, wait_until
from run_folders import contents

from charlm.config.file import load_config
from charlm.runs.folder import DEFAULT_CORPUS

pytestmark = pytest.mark.skipif(not CAN_TRAIN, reason="it trains")

NIGHTS, KILLED_NIGHT = 10, 4
LONG_NIGHT = "-s training.steps=3000 -s training.evaluations=300"
"""Settings of the night that is killed, so that it can be killed in time."""


def write_program(path: Path, command: str) -> None:
    """Write a shell script that runs a command."""
    path.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    path.chmod(0o755)


def write_script(*settings: str) -> list[str]:
    """Write the script of the page with the recipe tiny, and return the command that runs it."""
    (script,) = [
        block for block in code_blocks(text_of("docs/commands.md"), "sh") if "nightly" in block
    ]
    assert "--minutes 60" in script
    changed = script.replace("--minutes 60", " ".join(["-c tiny", *settings]))
    Path("nightly.sh").write_text(changed, encoding="utf-8")
    return ["sh", "nightly.sh"]


def unchanging(runs: list[Path]) -> dict[Path, object]:
    """Return the settings and the text of runs."""
    return {run: ((run / "config.yaml").read_bytes(), contents(run / "corpus")) for run in runs}


@pytest.mark.slow
def test_the_nightly_job_survives_a_growing_text_and_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bin").mkdir()
    write_program(Path("bin/charlm"), f'exec {sys.executable} -m charlm "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    plays = DEFAULT_CORPUS.read_text(encoding="utf-8")
    runs = [Path(f"runs/nightly-2030-01-{night:02}") for night in range(1, NIGHTS + 1)]
    for night, run in enumerate(runs, start=1):
        write_program(Path("bin/date"), f"echo 2030-01-{night:02}")
        Path("mytext.txt").write_text(plays[: 20_000 + 1000 * night], encoding="utf-8")
        before = unchanging(runs[: night - 1])
        if night == KILLED_NIGHT:
            with started(write_script(LONG_NIGHT), start_new_session=True) as (process,):
                wait_until((run / "best.safetensors").exists, [process])
                os.killpg(process.pid, signal.SIGKILL)
            continue
        ended = subprocess.run(write_script(), capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert unchanging(runs[: night - 1]) == before
    assert all((run / "ended.json").exists() for run in runs)
    initial = [load_config(run / "config.yaml").training.initial_weights for run in runs]
    assert initial == [None, *(weights_of(run / "best.safetensors") for run in runs[:-1])]
    outcomes = Path("nights.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(outcomes) == NIGHTS - 1
