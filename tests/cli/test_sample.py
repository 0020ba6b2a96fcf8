"""What `charlm sample` writes to a pipe, to a terminal and as JSON."""

import json
import os
import pty
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm
from processes import command_line

from charlm.network.model_file import TrainedModel, write_model
from charlm.text.vocabulary import Vocabulary


def sample(*arguments: str | Path | float, stdin: str | bytes = b"") -> str:
    command = charlm("sample", *arguments, stdin=stdin)
    assert command.exit_code == 0, command.stderr
    return command.stdout


def sample_json(*arguments: str | Path | float) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sample(*arguments, "--json"))
    return found


def always(trained: TrainedModel, character: str, path: Path) -> Path:
    """Write a model whose most likely character is always the same; return its file."""
    bias = np.zeros(len(trained.vocabulary), np.float32)
    bias[trained.vocabulary.characters.index(character)] = 1000
    write_model(path, replace(trained, parameters=replace(trained.parameters, logits_bias=bias)))
    return path


# The text


def test_the_prompt_comes_first_and_then_exactly_length_characters(trained_run: Path) -> None:
    text = sample(trained_run, "-p", "The ferry", "-n", 300)
    assert (text[:9], len(text)) == ("The ferry", 309)


def test_without_a_temperature_that_of_the_recipe_is_used(trained: TrainedModel, tmp_path: Path) -> None:
    endless, cool = replace(trained, vocabulary=Vocabulary(tuple("\nabcd"))), tmp_path / "cool.safetensors"
    write_model(cool, replace(endless, config={**endless.config, "sampling": {"temperature": 0.25}}))
    texts = [sample(cool, "-n", 50, "--seed", 1, *options) for options in ((), ("-t", 0.25), ("-t", 0.8))]
    assert texts[0] == texts[1] != texts[2]


# Prompts


def test_characters_left_out_of_the_prompt_are_named_and_in_the_json(trained_run: Path) -> None:
    command = charlm("sample", trained_run, "-p", "€The€ ferry", "-n", 1)
    line = "left out of the prompt, since the model does not know them: '€' (U+20AC) 2 times"
    assert command.stderr == f"charlm: {line}\n"
    assert command.stdout.startswith("€The€ ferry")
    assert sample_json(trained_run, "-p", "€The€ ferry", "-n", 1)["left_out"] == {"€": 2}


# Several samples


def test_several_samples_are_written_one_after_the_other(trained_run: Path) -> None:
    command = charlm("sample", trained_run, "-p", "The", "-n", 10, "--samples", 3, "--seed", 1)
    assert command.stderr.splitlines() == [f"--- sample {number} of 3 ---" for number in (1, 2, 3)]
    texts = [s["text"] for s in sample_json(trained_run, "-p", "The", "-n", 10, "--samples", 3, "--seed", 1)["samples"]]
    assert command.stdout == "".join(f"The{text}\n" for text in texts)
    assert len(set(texts)) == 3


# JSON


def test_json_is_one_object_and_nothing_else(trained_run: Path) -> None:
    found = sample_json(trained_run, "-p", "The", "-n", 10, "--seed", 5)
    assert (found["model"], found["prompt"], found["seed"]) == (str(trained_run / "best.safetensors"), "The", 5)
    (only,) = found["samples"]
    assert (len(only["text"]), only["characters"], only["stopped_by"]) == (10, 10, "length")


# Terminals and pipes


def on_a_terminal(*arguments: str | Path, interrupt: bool = False) -> bytes:
    """Return what a command writes to a terminal; `interrupt` sends it SIGINT when it has begun to write."""
    ours, terminal = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as reader:
        command = command_line("sample", *arguments)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal) as process:
            os.close(terminal)
            written = b""
            try:
                while block := reader.read(1000):
                    if interrupt and not written:
                        process.send_signal(signal.SIGINT)
                    written += block
            except OSError:  # how Linux reports the end of a terminal
                pass
    assert process.returncode == (130 if interrupt else 0)
    return written


@pytest.fixture
def escaping(trained: TrainedModel, tmp_path: Path) -> Path:
    """Return a model that writes escape characters."""
    vocabulary = Vocabulary(("\n", "\x1b", "é", None, None), unknown_id=3, end_of_text_id=4)
    return always(replace(trained, vocabulary=vocabulary), "\x1b", tmp_path / "escaping.safetensors")


def test_control_characters_are_escaped_on_a_terminal(escaping: Path) -> None:
    assert on_a_terminal(escaping, "-p", "é\n\x1b", "-n", "2") == "é\r\n\\x1b\\x1b\\x1b\r\n".encode()


def test_a_pipe_gets_control_characters_as_they_are(escaping: Path) -> None:
    assert sample(escaping, "-n", 2) == "\x1b\x1b"


def test_ctrl_c_ends_the_line_on_a_terminal(trained: TrainedModel, tmp_path: Path) -> None:
    written = on_a_terminal(always(trained, "a", tmp_path / "endless.safetensors"), "-n", "0", interrupt=True)
    assert written.rstrip(b"\r\n").strip(b"a") == b""
    assert written.endswith(b"a\r\n")


def run_sample(*arguments: str | Path, encoding: str) -> "subprocess.CompletedProcess[bytes]":
    command = command_line("sample", *arguments)
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, capture_output=True, env=environment, check=False, timeout=60)


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_characters_that_the_output_cannot_encode_are_escaped(
    extra: list[str], trained: TrainedModel, tmp_path: Path
) -> None:
    vocabulary = Vocabulary(("\n", "中", "b", None, None), unknown_id=3, end_of_text_id=4)
    folder = always(replace(trained, vocabulary=vocabulary), "中", tmp_path / "chinese.safetensors")
    done = run_sample(folder, "-n", "2", *extra, encoding="ascii")
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert b"\\u4e2d\\u4e2d" in done.stdout


# Failures


def test_a_text_of_blanks_at_temperature_0_is_told(trained: TrainedModel, tmp_path: Path) -> None:
    trained.parameters.logits_bias[:] = [1000, 0, 0, 0, 0]  # a line break, whatever came before
    write_model(tmp_path / "m.safetensors", trained)
    said = charlm("sample", tmp_path / "m.safetensors", "-p", "ab", "-t", 0, "-n", 5)
    assert (said.stdout, said.stderr.count("\n")) == ("ab" + 5 * "\n", 1)
    assert "here only blanks; -t 0.5 varies" in said.stderr
    assert charlm("sample", tmp_path / "m.safetensors", "-p", "ab", "-t", 1, "-n", 5).stderr == ""
