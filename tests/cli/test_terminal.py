"""Commands on a terminal: control characters of files and names, progress bars."""

import fcntl
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import charlm
from corpora import write_plays
from models import make_random_model
from processes import command_line
from run_folders import make_scored_run

from charlm.cli.main import main
from charlm.core.model_file import write_model

RED = "\x1b[31m"
"""What makes a terminal write in red; X stands for it in the command lines."""
SCORED = make_random_model(f"\n{RED}ab")
SCORED.parameters.logits_bias[1] += 9
LINES = [
    "evaluate X.safetensors X.txt",
    "evaluate X.safetensors X.txt --baselines",
    "evaluate X.safetensors X.txt --lines",
    "export X.safetensors --format c --out X.out",
    "export X.safetensors --format onnx --out X.onnx",
    "info",
    "inspect X.safetensors --text X.txt --out X.html --only surprise",
    "plan X.txt -c X.yaml",
    "runs",
    "runs --group",
    "runs --samples",
    "sample X.safetensors -n 60 -t 2 --seed 1",
    "sample X.safetensors -n 60 -t 2 --seed 1 --samples 2",
    "sample X.safetensors -n 60 -t 2 --seed 1 --lines 3",
    "tokenize X.txt --out X.corpus",
    "train X.txt -c X.yaml -r X.run",
]


@pytest.fixture
def red_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder whose names and files have control characters."""
    folder = tmp_path / RED
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path(f"{RED}.txt").write_text(f"ab{RED}ba\n" * 60, encoding="utf-8")
    recipe = charlm("config", "show", "tiny", "-s", "training.steps=2").stdout
    Path(f"{RED}.yaml").write_text(recipe, encoding="utf-8")
    write_model(Path(f"{RED}.safetensors"), SCORED)
    for name in ("two\nlines", "a", RED):
        run = make_scored_run(Path("runs", name), SCORED, 1.5)
        charlm("tokenize", f"{RED}.txt", "--out", run / "corpus")
    with (run / "config.yaml").open("a", encoding="utf-8") as config:
        config.write('"\\e[31m": 1\n')


@pytest.mark.usefixtures("red_place")
@pytest.mark.parametrize("line", LINES)
def test_a_terminal_gets_no_control_characters(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(SystemExit) as ended:
        main([part.replace("X", RED) for part in shlex.split(line)])
    printed = "".join(capsys.readouterr())
    assert ended.value.code == 0, printed
    assert printed.replace("\n", "").replace("\t", "").isprintable()
    assert "\\x1b" in printed
    assert "\nlines" not in printed


def read_all(descriptor: int) -> Iterator[bytes]:
    """Yield what is written to a terminal until its last process ends."""
    while True:
        try:
            data = os.read(descriptor, 65_536)
        except OSError:  # Linux: every process has closed the terminal
            return
        if not data:
            return
        yield data


def run_on_terminal(*arguments: str | Path, columns: int) -> tuple[int, str]:
    """Return the exit code of a command on a terminal, and what it prints there."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        command_line(*arguments),
        stdin=its,
        stdout=its,
        stderr=its,
        env={**environment, "TERM": "xterm"},
    ) as process:
        os.close(its)
        output = b"".join(read_all(ours))
    os.close(ours)
    return process.returncode, output.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_a_training_on_a_terminal_has_a_bar(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "plays.txt")
    line: list[str | Path] = ["train", text, "-c", "tiny", "-r", tmp_path / "run"]
    code, output = run_on_terminal(*line, columns=60)
    assert code == 0
    assert "%|" in output
    drawn = output.replace("\n", "\r").split("\r")
    assert max(len(line) for line in drawn if "%|" in line) <= 60
