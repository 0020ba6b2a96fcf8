"""The weights for C programs, the example program and fuzzing of the library in C."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm
from formats.c_library import SOURCE, draw_ids
from formats.networks import STRANGE, make_model

from charlm.formats.exporting import export_c
from charlm.network.model_file import TrainedModel, write_model

FUZZ_SECONDS = os.environ.get("CHARLM_FUZZ_SECONDS")
"""How long to try random inputs, in seconds; if unset, the test tries FUZZ_RUNS inputs."""
FUZZ_RUNS = 400_000
HEADER_BYTES = 44


def test_the_header_has_the_sizes_of_the_network(trained: TrainedModel) -> None:
    data = export_c(trained)["model.bin"]
    vocabulary_size, layers, units, width = 5, 2, 4, 5
    embedding, skip_connections, tanh = 0, 0, 0
    unknown_id, end_of_text_id = 3, 4
    assert data[:8] == b"CHARLM-1"
    assert np.frombuffer(data[8:HEADER_BYTES], "<i4").tolist() == [
        *(vocabulary_size, layers, units, width),
        *(embedding, skip_connections, tanh),
        *(unknown_id, end_of_text_id),
    ]
    assert len(data) == HEADER_BYTES + 4 * vocabulary_size + 4 * trained.architecture.size
    code_points = np.frombuffer(data, "<u4", count=vocabulary_size, offset=HEADER_BYTES)
    reserved = 2**32 - 1
    assert code_points.tolist() == [ord("\n"), ord("a"), ord("b"), reserved, reserved]


def test_reserved_ids_that_are_missing_are_minus_one() -> None:
    data = export_c(make_model(layers=1))["model.bin"]
    assert np.frombuffer(data[HEADER_BYTES - 8 : HEADER_BYTES], "<i4").tolist() == [-1, -1]


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the example program with sanitizers and with warnings as errors."""
    target = tmp_path_factory.mktemp("c") / "run"
    options = [
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover",
    ]
    sources = [str(SOURCE), str(SOURCE.with_name("main.c"))]
    subprocess.run(["cc", *options, *sources, "-lm", "-o", str(target)], check=True)
    return target


@pytest.fixture
def run(program: Path, tmp_path: Path) -> Run:
    """Return a function that runs the example program on a model or on the bytes of its file."""

    def run(
        model: TrainedModel | bytes, *arguments: str | bytes, stdout: int = subprocess.PIPE
    ) -> Any:
        data = model if isinstance(model, bytes) else export_c(model)["model.bin"]
        (tmp_path / "model.bin").write_bytes(data)
        command = [program, tmp_path / "model.bin", *arguments]
        return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)

    return run


PROMPTS = {"empty": "", "known": "ab", "strange": 'é<"\\😀', "partly unknown": "aXb"}
every_prompt = pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)


def check_text(trained: TrainedModel, run: Run, prompt: str) -> bytes:
    """Check that both programs print the same text, and return the messages of the C program."""
    write_model(Path("model.safetensors"), trained)
    expected = charlm("sample", "model.safetensors", "-p", prompt, "-n", 100, "-t", 0)
    done = run(trained, prompt, "100", "0")
    assert done.stdout == expected.stdout_bytes
    errors: bytes = done.stderr
    return errors


@pytest.mark.slow
@every_prompt
@pytest.mark.parametrize("likely", [0, 3, 4], ids=["line break", "unknown id", "end of text"])
def test_it_prints_what_charlm_prints(
    trained: TrainedModel, run: Run, likely: int, prompt: str
) -> None:
    trained.parameters.logits_bias[likely] += 100.0
    assert check_text(trained, run, prompt) == b""


@pytest.mark.slow
@every_prompt
def test_unknown_characters_are_counted(run: Run, prompt: str) -> None:
    trained = make_model(
        characters=(*STRANGE, "a", "b"), layers=2, skip_connections=True, scale=1.0
    )
    assert (b"left out 1 characters" in check_text(trained, run, prompt)) == ("X" in prompt)


@pytest.fixture
def drawn(trained: TrainedModel) -> TrainedModel:
    """Return a model that draws a line break, a and b with weights of 1, 2 and 4."""
    for tensor in trained.parameters.tensors.values():
        tensor[:] = 0
    line_break, a, b, unknown, end_of_text = 0.0, np.log(2), np.log(4), 9.0, -np.inf
    trained.parameters.logits_bias[:] = [line_break, a, b, unknown, end_of_text]
    return trained


def shares(text: str) -> list[float]:
    """Return the shares of line breaks, a and b in a text."""
    return [text.count(character) / len(text) for character in "\nab"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(["1", "0"], [1 / 7, 2 / 7, 4 / 7], id="temperature 1"),
        pytest.param(["0.5", "0"], [1 / 21, 4 / 21, 16 / 21], id="temperature 0.5"),
        pytest.param(["1", "2"], [0, 1 / 3, 2 / 3], id="two likeliest"),
    ],
)
def test_a_text_is_drawn_at_the_probabilities_of_the_network(
    drawn: TrainedModel, run: Run, options: list[str], expected: list[float]
) -> None:
    text = run(drawn, "a", "7000", *options, "3").stdout.decode()[1:]
    assert len(text) == 7000
    assert shares(text) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_the_end_of_the_text_ends_the_text(drawn: TrainedModel, run: Run) -> None:
    """The id 3, which the model never chooses, is left out of the logits."""
    drawn.parameters.logits_bias[4] = 0
    logits = [0, np.log(2), np.log(4), -np.inf, 0]
    ids = draw_ids(logits, 3, temperature=1, top_k=0, count=500)
    expected = "".join("\nab"[index] for index in ids[: ids.index(4)])
    assert run(drawn, "a", "500", "1", "0", "3").stdout.decode() == "a" + expected


@pytest.mark.slow
def test_a_seed_gives_a_text(drawn: TrainedModel, run: Run) -> None:
    first, again, other = [run(drawn, "a", "99", "1", "0", seed).stdout for seed in ("5", "5", "6")]
    assert first == again != other


@pytest.mark.slow
def test_the_default_is_500_characters_at_temperature_one_half(
    drawn: TrainedModel, run: Run
) -> None:
    text = run(drawn, "a").stdout.decode()[1:]
    assert len(text) == 500
    assert shares(text) == pytest.approx([1 / 21, 4 / 21, 16 / 21], abs=0.09)


@pytest.mark.slow
def test_the_default_seed_is_the_time(drawn: TrainedModel, run: Run) -> None:
    earliest = int(time.time())
    text = run(drawn, "a").stdout
    latest = int(time.time())
    seeds = range(earliest, latest + 1)
    texts = [run(drawn, "a", "500", "0.5", "0", str(seed)).stdout for seed in seeds]
    assert text in texts


@pytest.mark.slow
def test_a_program_without_arguments_explains_them(program: Path) -> None:
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    usage = "run: usage: run model.bin [PROMPT [LENGTH [TEMPERATURE [TOP [SEED]]]]]\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", usage)


@pytest.mark.slow
def test_a_damaged_model_is_refused_in_a_line(trained: TrainedModel, run: Run) -> None:
    done = run(export_c(trained)["model.bin"][:300], "a")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"run: the model is damaged\n")


BAD_ARGUMENTS: dict[str, tuple[str, list[str | bytes]]] = {
    "not UTF-8": ("the text is not UTF-8", [b"\xc3"]),
    "no length": ("LENGTH must be a whole number", ["a", "y"]),
    "negative length": ("LENGTH must be a whole number", ["a", "-1"]),
    "more than a length": ("LENGTH must be a whole number", ["a", "5x"]),
    "huge length": ("LENGTH must be a whole number", ["a", "9" * 30]),
    "negative temperature": ("TEMPERATURE must be a number, 0 or more", ["a", "5", "-1"]),
    "empty temperature": ("TEMPERATURE must be a number, 0 or more", ["a", "5", ""]),
    "more than a temperature": ("TEMPERATURE must be a number, 0 or more", ["a", "5", "1x"]),
    "infinite temperature": ("TEMPERATURE must be a number, 0 or more", ["a", "5", "inf"]),
    "temperature NaN": ("TEMPERATURE must be a number, 0 or more", ["a", "5", "nan"]),
    "no top": ("TOP must be a whole number", ["a", "5", "1", "x"]),
    "no seed": ("SEED must be a whole number", ["a", "5", "1", "0", "x"]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("message", "arguments"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_a_bad_argument_is_refused_in_a_line(
    run: Run, message: str, arguments: list[str | bytes]
) -> None:
    done = run(make_model(), *arguments)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert message in done.stderr.decode()


@pytest.mark.slow
def test_control_characters_are_escaped_on_a_terminal(run: Run) -> None:
    characters = ("\x00", "\x1f", "\x7f", "\x80", "\x9f", "\t", "\n", " ", "~", "\xa0", "é", "一")
    reader, terminal = os.openpty()
    trained = make_model(characters=characters, layers=1, scale=0)
    assert run(trained, "", "200", "1", "0", "3", stdout=terminal).returncode == 0
    os.close(terminal)
    shown = os.read(reader, 1000).decode()
    os.close(reader)
    escapes = {"\\x00", "\\x1f", "\\x7f", "\\x80", "\\x9f"}
    line_break = {"\r", "\n"}  # a terminal begins a line with \r
    found = re.findall(r"\\x..|.", shown, re.DOTALL)
    assert {*found} == escapes | line_break | {"\t", " ", "~", "\xa0", "é", "一"}


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the fuzzing program."""
    if shutil.which("clang") is None:
        pytest.skip("missing: clang")
    target = tmp_path_factory.mktemp("fuzz") / "fuzz"
    options = ["-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    program = str(Path(__file__).with_name("fuzz_charlm.c"))
    command = [
        "clang",
        *options,
        f'-DCHARLM_C="{SOURCE}"',
        "-I",
        str(SOURCE.parent),
        program,
        "-lm",
    ]
    subprocess.run([*command, "-o", target], check=True)
    return target


def fuzz(fuzzer: Path, *arguments: str) -> bytes:
    """Run the fuzzing program, check that it finds no error, and return its report."""
    # The sanitizer keeps freed memory, by default more than libFuzzer's limit of 2 GB.
    environment = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=16"}
    done = subprocess.run([fuzzer, *arguments], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:].decode("utf-8", "replace")
    return done.stderr


def fuzzed_inputs(trained: TrainedModel, *, failing: int) -> list[bytes]:
    """Return inputs with different models; the allocation number `failing` fails (0: none)."""
    wide = make_model(characters="aé€😀", layers=2, units=3, embedding=3, activation="relu")
    skipping = make_model(layers=2, skip_connections=True, activation="sigmoid")
    prompt = "aé€😀x".encode()
    cut_short = "a😀".encode()[:-1]
    inputs = []
    for text, model in [(prompt, trained), (prompt, wide), (prompt, skipping), (cut_short, wide)]:
        inputs.append(bytes([len(text), failing]) + text + export_c(model)["model.bin"])
    return inputs


@pytest.mark.slow
def test_fuzzing_finds_no_access_outside_the_memory(fuzzer: Path, trained: TrainedModel) -> None:
    Path("corpus").mkdir()
    for number, data in enumerate(fuzzed_inputs(trained, failing=0)):
        Path(f"corpus/{number}").write_bytes(data)
    options = ["-max_len=4096", "-timeout=10", "-verbosity=1"]
    options.append("-detect_leaks=0")  # the program counts its allocations itself
    if FUZZ_SECONDS:
        options.append(f"-max_total_time={FUZZ_SECONDS}")
    else:
        options += ["-seed=1", f"-runs={FUZZ_RUNS}"]
    report = fuzz(fuzzer, *options, "corpus")
    assert int(re.findall(rb"#(\d+)\s", report)[-1]) >= FUZZ_RUNS
    assert int(re.findall(rb"cov: (\d+)", report)[-1]) > 100


ALLOCATIONS = 6
"""How many blocks a model and a state allocate together."""


@pytest.mark.slow
@pytest.mark.parametrize("failing", range(1, ALLOCATIONS + 2))
def test_a_failed_allocation_is_a_status_that_leaves_no_memory(
    fuzzer: Path, trained: TrainedModel, failing: int
) -> None:
    """In the last case no allocation fails, because there are fewer."""
    names = []
    for number, data in enumerate(fuzzed_inputs(trained, failing=failing)):
        names.append(f"input-{number}")
        Path(names[-1]).write_bytes(data)
    fuzz(fuzzer, "-detect_leaks=0", *names)
