"""The weights for C programs, the example program, and damaged models under sanitizers."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm
from exports.c_library import SOURCE, draw_ids
from exports.networks import make_model

from charlm.core.model_file import TrainedModel, write_model
from charlm.exports.exporting import export_c

DAMAGED = int(os.environ.get("CHARLM_DAMAGED_MODELS", "20000"))
"""How many damaged models to try of each structure."""


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def compile_with_sanitizers(*sources: Path, target: Path) -> Path:
    """Compile a program with sanitizers and with warnings as errors."""
    options = ["-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    options += ["-fno-sanitize-recover", "-I", str(SOURCE.parent)]
    subprocess.run(["cc", *options, *sources, "-lm", "-o", target], check=True)
    return target


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the example program."""
    target = tmp_path_factory.mktemp("c") / "run"
    return compile_with_sanitizers(SOURCE, SOURCE.with_name("main.c"), target=target)


@pytest.fixture
def run(program: Path, tmp_path: Path) -> Run:
    """Return a function that runs the example program on a model."""

    def run(model: TrainedModel, *arguments: str | bytes, stdout: int = subprocess.PIPE) -> Any:
        (tmp_path / "model.bin").write_bytes(export_c(model)["model.bin"])
        command = [program, tmp_path / "model.bin", *arguments]
        return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)

    return run


PROMPTS = {"empty": "", "known": "ab", "strange": 'é<"\\😀', "partly unknown": "aXb"}


@pytest.mark.slow
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("likely", [0, 3, 4], ids=["line break", "unknown id", "end of text"])
def test_it_prints_what_charlm_prints(
    trained: TrainedModel, run: Run, likely: int, prompt: str
) -> None:
    trained.parameters.logits_bias[likely] += 100.0
    write_model(Path("model.safetensors"), trained)
    expected = charlm("sample", "model.safetensors", "-p", prompt, "-n", 100, "-t", 0)
    done = run(trained, prompt, "100", "0")
    assert (done.stdout, done.stderr) == (expected.stdout_bytes, b"")


@pytest.mark.slow
def test_characters_that_are_left_out_are_counted(run: Run) -> None:
    done = run(make_model(characters="ab"), "aXbé", "0")
    assert done.stderr == b"run: left out 2 characters\n"


@pytest.fixture
def drawn(trained: TrainedModel) -> TrainedModel:
    """Return a model that draws a line break, a and b with weights of 1, 2 and 4."""
    for tensor in trained.parameters.tensors.values():
        tensor[:] = 0
    line_break, a, b, unknown, end_of_text = 0.0, np.log(2), np.log(4), 9.0, -np.inf
    trained.parameters.logits_bias[:] = [line_break, a, b, unknown, end_of_text]
    return trained


def drawn_text(*, seed: int, temperature: float, count: int) -> str:
    """Return what `drawn` generates."""
    logits = [0, np.log(2), np.log(4)]
    ids = draw_ids(logits, seed, temperature=temperature, count=count)
    return "".join("\nab"[index] for index in ids)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_text_is_drawn_at_the_probabilities_of_the_network(
    drawn: TrainedModel, run: Run, temperature: float
) -> None:
    text = run(drawn, "a", "700", str(temperature), "3").stdout.decode()
    assert text == "a" + drawn_text(seed=3, temperature=temperature, count=700)


@pytest.mark.slow
def test_a_program_without_arguments_explains_them(program: Path) -> None:
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    usage = "run: usage: run model.bin [PROMPT [LENGTH [TEMPERATURE [SEED]]]]\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", usage)


BAD_ARGUMENTS: dict[str, tuple[str, list[str | bytes]]] = {
    "not UTF-8": ("the prompt is not UTF-8", [b"\xc3"]),
    "more than a length": ("LENGTH must be a number", ["a", "5x"]),
    "huge length": ("LENGTH must be a number", ["a", "9" * 30]),
    "temperature NaN": ("TEMPERATURE must be a number", ["a", "5", "nan"]),
    "no seed": ("SEED must be a number", ["a", "5", "1", "x"]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("message", "arguments"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_a_bad_argument_is_refused_in_a_line(
    run: Run, message: str, arguments: list[str | bytes]
) -> None:
    done = run(make_model(), *arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith(f"run: {message}")


@pytest.mark.slow
def test_control_characters_are_escaped_on_a_terminal(run: Run) -> None:
    characters = ("\x00", "\x1f", "\x7f", "\x80", "\x9f", "\t", "\n", " ", "~", "\xa0", "é", "一")
    reader, terminal = os.openpty()
    trained = make_model(characters=characters, layers=1, scale=0)
    assert run(trained, "", "200", "1", "3", stdout=terminal).returncode == 0
    os.close(terminal)
    shown = os.read(reader, 1000).decode()
    os.close(reader)
    escapes = {"\\x00", "\\x1f", "\\x7f", "\\x80", "\\x9f"}
    line_break = {"\r", "\n"}  # a terminal begins a line with \r
    found = re.findall(r"\\x..|.", shown, re.DOTALL)
    assert {*found} == escapes | line_break | {"\t", " ", "~", "\xa0", "é", "一"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        pytest.param({}, id="one layer"),
        pytest.param({"layers": 3, "skip_connections": True, "activation": "relu"}, id="skips"),
        pytest.param({"layers": 2, "embedding": 3, "activation": "sigmoid"}, id="embedding"),
    ],
)
def test_damaged_models_cause_no_access_outside_the_memory(network: dict[str, Any]) -> None:
    program = compile_with_sanitizers(Path(__file__).with_name("damage.c"), target=Path("damage"))
    data = export_c(make_model(characters="aé€😀", units=3, **network))["model.bin"]
    Path("model.bin").write_bytes(data)
    command = [str(program.absolute()), "model.bin", str(DAMAGED), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert 0 < int(done.stdout) < DAMAGED
