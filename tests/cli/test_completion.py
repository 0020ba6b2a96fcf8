"""Completion: what is offered, and that bash, zsh and fish complete with it."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import charlm, check_usage_error
from run_folders import make_run

from charlm.cli.completion import SHELLS
from charlm.cli.main import main
from charlm.config.recipes import recipe_names

WAIT_SECONDS = 60


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with two runs."""
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/20010203-120000-tiny"))
    make_run(Path("runs/mine"))
    return tmp_path


def complete(line: str) -> list[str]:
    """Return what bash is offered for a line with the cursor at its end: the kind of each value, and the value."""
    words = len(line.split()) - (not line.endswith(" "))
    environment = {"_CHARLM_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(words)}
    done = CliRunner().invoke(main, prog_name="charlm", env=environment, catch_exceptions=False)
    return [answer.removeprefix("plain,") for answer in done.stdout.splitlines() if answer]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("charlm tr", ["train"]),
        ("charlm config ch", ["check"]),
        ("charlm sample --che", ["--checkpoint"]),
        ("charlm sample --checkpoint ", ["best", "last"]),
        ("charlm train -s model.un", ["model.units="]),
        ("charlm train --set model.rnn.activation=ta", ["model.rnn.activation=tanh"]),
        ("charlm train -s training.shuffle=", ["training.shuffle=true", "training.shuffle=false"]),
        ("charlm train -s training.early_stopping.pat", ["training.early_stopping.patience="]),
        ("charlm train -s model.units=", []),
        ("charlm train -s xyzzy=", []),
        ("charlm train -c shakespeare-h", ["file,", "shakespeare-hour"]),
        ("charlm sample mi", ["file,", "mine"]),
        ("charlm sample runs/mi", ["file,", "runs/mine"]),
        ("charlm runs mine 2001", ["file,", "20010203-120000-tiny"]),
        ("charlm train --resume --run mi", ["file,", "mine"]),
        ("charlm completion ", list(SHELLS)),
    ],
)
def test_what_can_follow_is_offered(line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_every_recipe_is_offered() -> None:
    assert complete("charlm plan -c ") == ["file,", *recipe_names()]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_is_printed(shell: str) -> None:
    command = charlm("completion", shell)
    assert (command.exit_code, command.stderr) == (0, "")
    assert f"{shell}_complete" in command.stdout


def test_an_unknown_shell_is_refused_with_those_there_are() -> None:
    check_usage_error("completion tcsh", "'bash', 'zsh', 'fish'")


# In real shells


@pytest.fixture
def environment(place: Path) -> dict[str, str]:
    """Return an environment whose PATH has charlm."""
    (place / "bin").mkdir()
    program = place / "bin/charlm"
    program.write_text(f"#!{sys.executable}\nfrom charlm.__main__ import main\nmain()\n", encoding="utf-8")
    program.chmod(0o755)
    package = str(Path(__file__).parents[2])
    return {"PATH": f"{place}/bin:{os.environ['PATH']}", "PYTHONPATH": package, "HOME": str(place), "TERM": "xterm"}


SETUP = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}


def typed(shell: str, keys: str, environment: dict[str, str]) -> str:
    """Return the line that a shell has after these keys, a tab in them a completion.

    The line becomes an argument of echo, after a mark that the keys do not contain, so that it appears once more.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(SETUP[shell][0], SETUP[shell], environment)
    try:
        start = "autoload -U compinit; compinit -u; " if shell == "zsh" else ""
        os.write(terminal, f'{start}eval "$(charlm completion {shell})"; echo READ""Y\n'.encode())
        read_until(terminal, "READY")
        os.write(terminal, keys.encode())
        read_until(terminal, keys.rpartition("\t")[2], seconds=5)
        os.write(terminal, b"\x01echo BEG''IN \n")  # control-a goes to the start of the line
        return read_until(terminal, "BEGIN").rpartition("BEGIN")[2]
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def read_until(terminal: int, mark: str, *, seconds: float = WAIT_SECONDS) -> str:
    """Return what a terminal shows until a mark is in it and nothing follows, or the time is over."""
    shown, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536).decode("utf-8", "replace")
        elif mark in shown:
            break
    return shown


LINES = [
    ("charlm tra\t", "charlm train "),
    ("charlm train -s model.uni\t64", "charlm train -s model.units=64"),
    ("charlm train -s model.rnn.activation=tan\t", "charlm train -s model.rnn.activation=tanh "),
    ("charlm sample mi\t", "charlm sample mine "),
    ("charlm plan -c shakespeare-h\t", "charlm plan -c shakespeare-hour "),
]


@pytest.mark.slow
@pytest.mark.parametrize("shell", SETUP)
@pytest.mark.parametrize(("keys", "line"), LINES)
def test_bash_and_zsh_complete_what_is_typed(shell: str, keys: str, line: str, environment: dict[str, str]) -> None:
    assert line.rstrip() in typed(shell, keys, environment)


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "line"), LINES)
def test_fish_completes_what_is_typed(keys: str, line: str, environment: dict[str, str]) -> None:
    typed_so_far = keys.partition("\t")[0]
    program = f"charlm completion fish | source; complete -C '{typed_so_far}'"
    command = ["fish", "--no-config", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    offered = [answer.partition("\t")[0] for answer in done.stdout.splitlines()]
    assert line.removesuffix("64").split()[-1] in offered
