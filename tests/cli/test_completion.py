"""What a shell completes: the words, and the scripts in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from commands import charlm
from run_folders import make_run

from charlm.cli.main import main

BASH = """
compopt() { echo compopt "$@"; }
eval "$SCRIPT"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_charlm_completion charlm
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(line: str) -> list[str]:
    """Return what completes the last word of a command line."""
    *words, incomplete = line.split(" ")
    shell = ShellComplete(main, {}, "charlm", "_CHARLM_COMPLETE")
    return [item.value for item in shell.get_completions(words[1:], incomplete) if item.type == "plain"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("charlm train -s model.uni", ["model.units="]),
        ("charlm train -s corpus.level=", ["corpus.level=char", "corpus.level=byte"]),
        ("charlm plan -s model.skip_connections=", [f"model.skip_connections={value}" for value in ("true", "false")]),
        ("charlm train -s training.clip_norm=", ["training.clip_norm=null"]),
        *(("charlm train -s model.units=", []), ("charlm train -s no.such.key=", []), ("charlm tune sp", ["space"])),
        ("charlm train -s training.optimizer.beta", ["training.optimizer.beta_1=", "training.optimizer.beta_2="]),
        ("charlm train -s training.optimizer.name=adamw", ["training.optimizer.name=adamw"]),
        ("charlm train -c shakespeare-", ["shakespeare-15m", "shakespeare-hour"]),
        *((f"charlm {name} -c shakespeare-1", ["shakespeare-15m"]) for name in ("plan", "tokenize")),
        *(("charlm tr", ["train"]), ("charlm sample --checkpoint ", ["best", "last"]), ("charlm sample mi", ["mine"])),
        *(("charlm sample runs/mi", ["runs/mine"]), ("charlm train --resume --run mi", ["mine"])),
        ("charlm completion ", ["bash", "zsh", "fish"]),
        ("charlm export --format ", ["html", "onnx", "torch", "keras", "c"]),
    ],
)
def test_a_word_is_completed(line: str, expected: list[str]) -> None:
    make_run(Path("runs/20010203-120000-tiny"))
    make_run(Path("runs/mine"))
    assert complete(line) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "-s", "model.uni"], ["compopt -o nospace", "model.units="]),
        (["train", "-s", "corpus.level", "="], ["char", "byte"]),
        (["train", "-s", "corpus.level", "=", "by"], ["byte"]),
        (["train", "-s", "seed", "=", "1", "-s", "corpus.level", "=", "by"], ["byte"]),
        (["config", "sh"], ["show"]),
    ],
)
def test_bash_which_splits_words_at_the_equals_sign_gets_what_follows_it(
    words: list[str], expected: list[str], tmp_path: Path
) -> None:
    if shutil.which("bash") is None:
        pytest.skip("missing: bash")
    program = tmp_path / "charlm"
    program.write_text(f"#!{sys.executable}\nfrom charlm.__main__ import main\n\nmain()\n", encoding="utf-8")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment["SCRIPT"] = charlm("completion", "bash").stdout
    command = ["bash", "--norc", "-c", BASH, "bash", "charlm", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_of_another_shell_is_read_without_an_error(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"missing: {shell}")
    script = charlm("completion", shell).stdout
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
