"""Completion: what is offered to a shell; the scripts are click's."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import charlm, check_usage_error
from run_folders import make_run

from charlm.cli.main import SHELLS, main

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
        ("charlm sample --checkpoint ", ["best", "last"]),
        ("charlm train -s model.un", ["model.units="]),
        ("charlm train -s model.units=", []),
        ("charlm train -c shakespeare-h", ["file,", "shakespeare-hour"]),
        ("charlm sample mi", ["file,", "mine"]),
        ("charlm sample runs/mi", ["file,", "runs/mine"]),
        ("charlm train --resume --run mi", ["file,", "mine"]),
        ("charlm completion ", list(SHELLS)),
    ],
)
def test_what_can_follow_is_offered(line: str, expected: list[str]) -> None:
    assert complete(line) == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_is_printed(shell: str) -> None:
    command = charlm("completion", shell)
    assert (command.exit_code, command.stderr) == (0, "")
    assert f"{shell}_complete" in command.stdout


def test_an_unknown_shell_is_refused_with_those_there_are() -> None:
    check_usage_error("completion tcsh", "'bash', 'zsh', 'fish'")
