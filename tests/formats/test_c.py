"""The weights for the C program, and the program itself: it writes what charlm writes."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm
from formats.networks import STRANGE, make_model
from pages import ROOT

from charlm.formats.exporting import export_c
from charlm.network.model_file import TrainedModel, write_model
from charlm.text.vocabulary import Vocabulary

FUZZ_SECONDS = os.environ.get("CHARLM_FUZZ_SECONDS")
"""For how long random inputs are tried; without it, FUZZ_RUNS inputs of one seed are."""
FUZZ_RUNS = 60_000
SOURCE = ROOT / "charlm/formats/files/run.c"
LATIN = Vocabulary((*map(chr, range(256)), None), end_of_text_id=256)


def test_the_weights_begin_with_the_sizes_and_have_every_number(trained: TrainedModel) -> None:
    data = export_c(trained)["model.bin"]
    head = np.frombuffer(data[8:44], "<i4").tolist()
    assert data[:8] == b"CHARLM-1"
    assert head == [5, 2, 4, 5, 0, 0, 0, 3, 4]  # V, layers, H, width, no embedding, no skips, tanh, reserved ids
    assert np.frombuffer(export_c(make_model(layers=1))["model.bin"][36:44], "<i4").tolist() == [-1, -1]
    assert len(data) == 44 + 4 * 5 + 4 * trained.architecture.size
    assert np.frombuffer(data[44:64], "<u4").tolist() == [10, 97, 98, 2**32 - 1, 2**32 - 1]


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the program, without a warning, and with checks of every access to memory."""
    target = tmp_path_factory.mktemp("c") / "run"
    options = ["-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    subprocess.run(["cc", *options, str(SOURCE), "-lm", "-o", str(target)], check=True)
    return target


@pytest.fixture
def run(program: Path, tmp_path: Path) -> Run:
    """Return a function that runs the program with a model, or with its file as it is given."""

    def run(model: TrainedModel | bytes, *arguments: str | bytes, stdout: int = subprocess.PIPE) -> Any:
        data = model if isinstance(model, bytes) else export_c(model)["model.bin"]
        (tmp_path / "model.bin").write_bytes(data)
        command = [program, tmp_path / "model.bin", *arguments]
        return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("likely", [None, 0, 3, 4])  # "\n", the unknown id, which is never chosen, the end of the text
def test_it_writes_what_charlm_writes(trained: TrainedModel, tmp_path: Path, run: Run, likely: int | None) -> None:
    if likely is None:
        trained = make_model(characters=(*STRANGE, "a", "b"), layers=2, skip_connections=True, scale=1.0)
    else:
        trained.parameters.logits_bias[likely] += 100.0
    write_model(tmp_path / "model.safetensors", trained)
    for prompt in ("", "ab", 'é<"\\😀', "aXb"):
        expected = charlm("sample", tmp_path / "model.safetensors", "-p", prompt, "-n", 100, "-t", 0)
        done = run(trained, prompt, "100", "0")
        assert done.stdout == expected.stdout_bytes
        assert (b"left out 1 characters" in done.stderr) == (likely is None and "X" in prompt)


@pytest.mark.slow
def test_a_text_is_drawn_at_the_probabilities_of_the_network(trained: TrainedModel, run: Run) -> None:
    for tensor in trained.parameters.tensors.values():
        tensor[:] = 0
    trained.parameters.logits_bias[:] = [0, np.log(2), np.log(4), 9, -np.inf]  # "\n", "a", "b", unknown, end of text

    def draw(*options: str) -> list[float]:
        text = run(trained, "a", "7000", *options).stdout.decode()[1:]
        assert len(text) == 7000
        return [text.count(character) / 7000 for character in "\nab"]

    assert draw("1", "0", "3") == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=0.02)
    assert draw("0.5", "0", "3") == pytest.approx([1 / 21, 4 / 21, 16 / 21], abs=0.02)
    assert draw("1", "2", "3") == pytest.approx([0, 1 / 3, 2 / 3], abs=0.02)
    assert draw("1", "0", "5") == draw("1", "0", "5") != draw("1", "0", "6")


@pytest.mark.slow
def test_a_file_that_is_cut_short_or_has_wrong_sizes_does_no_harm(trained: TrainedModel, run: Run) -> None:
    whole = export_c(trained)["model.bin"]
    for kept in (0, 4, 30, 48, 60, 300):
        done = run(whole[:kept], "a")
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    for field, value in product(range(10), (-(2**31), -2, 1, 2, 4, 2**21, 2**31 - 1)):
        number = np.array(value, "<i4").tobytes()
        done = run(whole[: 8 + 4 * field] + number + whole[12 + 4 * field :], "a", "5")
        assert done.returncode in {0, 1}
        assert b"Sanitizer" not in done.stderr


@pytest.mark.slow
def test_a_prompt_that_cannot_be_read_and_a_number_that_is_none_are_refused(run: Run) -> None:
    table: dict[str, list[tuple[str | bytes, ...]]] = {
        "UTF-8": [(prompt,) for prompt in (b"\xc3", b"\xff", b"\xc1\xa1", b"\xe0\x81\xa1", b"\xed\xa0\x80")],
        "LENGTH must be a whole number": [("a", length) for length in ("y", "-1", "9" * 30)],
        "TEMPERATURE must be a number, 0 or more": [("a", "5", number) for number in ("-1", "", "nan")],
        "TOP must be a whole number": [("a", "5", "1", "x")],
        "SEED must be a whole number": [("a", "5", "1", "0", "x")],
    }
    for message, arguments in [(message, arguments) for message, lines in table.items() for arguments in lines]:
        done = run(make_model(), *arguments)
        assert done.returncode == 1
        assert message in done.stderr.decode()
        assert done.stdout == b"" or len(arguments) == 1


@pytest.mark.slow
def test_a_terminal_is_shown_control_characters_and_does_not_obey_them(run: Run) -> None:
    trained = make_model(characters=("\x1b", "\x9b"), layers=1)
    for tensor in trained.parameters.tensors.values():
        tensor[:] = 0
    reader, terminal = os.openpty()
    assert run(trained, "", "40", "1", "0", "3", stdout=terminal).returncode == 0
    os.close(terminal)
    shown = os.read(reader, 1000).decode()
    os.close(reader)
    assert set(shown) == set("\\x1b9")
    assert {shown[start : start + 4] for start in range(0, 160, 4)} == {"\\x1b", "\\x9b"}


@pytest.mark.slow
def test_fuzzing_finds_no_access_outside_the_memory(trained: TrainedModel, tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("missing: clang")
    options = ["-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    options += [f'-DRUN_C="{SOURCE}"', str(Path(__file__).with_name("fuzz_run.c")), "-lm"]
    subprocess.run(["clang", *options, "-o", tmp_path / "fuzz"], check=True)
    (tmp_path / "corpus").mkdir()
    others = (make_model(vocabulary=LATIN, embedding=3, layers=1), make_model(layers=2, skip_connections=True))
    for index, model in enumerate((trained, *others)):
        (tmp_path / f"corpus/{index}").write_bytes(b"\x02ab" + export_c(model)["model.bin"])
    limits = ["-max_len=4096", "-timeout=10", "-detect_leaks=0", "-verbosity=1"]
    limits += [f"-max_total_time={FUZZ_SECONDS}"] if FUZZ_SECONDS else ["-seed=1", f"-runs={FUZZ_RUNS}"]
    small = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=16"}  # what was freed is kept, beyond libFuzzer's 2 GB
    fuzz = [str(tmp_path / "fuzz"), *limits, "corpus"]
    done = subprocess.run(fuzz, cwd=tmp_path, env=small, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:].decode("utf-8", "replace")
    tries, covered = (int(re.findall(pattern, done.stderr)[-1]) for pattern in (rb"#(\d+)\s", rb"cov: (\d+)"))
    assert tries >= FUZZ_RUNS
    assert covered > 100
