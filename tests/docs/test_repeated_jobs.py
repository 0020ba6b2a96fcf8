"""The script in docs/commands.md that trains on a growing text every night, and publishes."""

import contextlib
import json
import math
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

import charlm
from charlm.config.file import load_config
from charlm.runs.folder import DEFAULT_CORPUS

pytest.importorskip("starlette", reason="missing: starlette")
pytest.importorskip("uvicorn", reason="missing: uvicorn")

from serving.client import ask, serving

from charlm.serving.server import make_app, open_models

pytestmark = pytest.mark.skipif(not CAN_TRAIN, reason="it trains")

NIGHTS, KILLED, DAMAGED, SHORT = 6, 2, 4, 5
LENGTHS = {
    KILLED: "-c tiny -s training.steps=3000 -s training.evaluations=300",
    SHORT: "-c tiny --minutes 0.01",
}
"""Options of the night that is killed, which is long enough for it, and of a night too short."""
RUNS, CURRENT = Path("runs"), Path("current")


def script_of(night: int) -> list[str]:
    """Return the command line of a night, which keeps two runs."""
    (script,) = [
        block for block in code_blocks(text_of("docs/commands.md"), "sh") if "nightly" in block
    ]
    changes = {"$(date +%F)": str(night), "-n -30": "-n -2"}
    changes["--minutes 60"] = LENGTHS.get(night, "-c tiny")
    for there, here in changes.items():
        assert there in script
        script = script.replace(there, here)
    return ["sh", "-c", script]


def run_night(night: int) -> tuple[int, str]:
    """Run the script of a night; return its exit code and its messages."""
    ended = subprocess.run(script_of(night), check=False, text=True, capture_output=True)
    return ended.returncode, ended.stderr


def check_served(port: int) -> None:
    """Check that the server has the published model under the name of the link."""
    (model,) = ask(port, "GET /v1/models").json["data"]
    assert model["id"] == "current"
    answer = ask(port, "POST /v1/completions", {"max_tokens": 100, "seed": 1}).json
    expected = charlm.load(CURRENT).generate(length=100, temperature=1.0, seed=1)
    assert answer["choices"][0]["text"] == str(expected)


@pytest.mark.slow
def test_the_best_model_of_all_nights_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    plays = DEFAULT_CORPUS.read_bytes()
    Path("fixed.txt").write_bytes(plays[-5000:])
    runs = [RUNS / f"nightly-{night}" for night in range(1, NIGHTS + 1)]
    lowest, published = math.inf, runs[0]
    with contextlib.ExitStack() as stack:
        for night, run in enumerate(runs, start=1):
            bad_byte = b"\xff" if night == DAMAGED else b""
            Path("mytext.txt").write_bytes(bad_byte + plays[: 20_000 + 1000 * night])
            if night == KILLED:
                with started(script_of(night), start_new_session=True) as (process,):
                    wait_until((run / "best.safetensors").exists, [process])
                    before = RUNS.stat().st_mtime_ns
                    code, message = run_night(night + 1)
                    assert (code, RUNS.stat().st_mtime_ns) == (1, before)
                    assert "another process is training here" in message
                    os.killpg(process.pid, signal.SIGKILL)
            assert run_night(night) == (0, "")
            loss = charlm.evaluate(run, "fixed.txt").nats_per_char
            if loss < lowest:
                lowest, published = loss, run
            assert CURRENT.samefile(published)
            assert {*RUNS.iterdir()} == {*runs[max(0, night - 2) : night], published}
            if night == 1:
                port = stack.enter_context(serving(make_app(open_models([CURRENT]))))
            else:
                initial = load_config(run / "config.yaml").training.initial_weights
                assert initial == weights_of(runs[night - 2] / "best.safetensors")
            check_served(port)
    lines = Path("nights.jsonl").read_text(encoding="utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    assert ["error" in result for result in results] == [False, True, *[False] * 5]
    counting = "counting is better: this model is "
    first, killed, third, damaged, short, last = [
        [warning for warning in result["warnings"] if not warning.startswith(counting)]
        for result in results
        if "error" not in result
    ]
    assert first == killed == third == last == []
    assert "read as U+FFFD in mytext.txt (1 time)" in damaged[0]
    assert "1 step will teach the network little; train with more --minutes" in short
    assert any(warning.startswith(counting) for warning in results[-2]["warnings"])
