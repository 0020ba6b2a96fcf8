"""The library in C: its results, and the status that it returns for each error."""

import ctypes
import platform
import shutil
import subprocess
import sys
import unicodedata
from ctypes import c_uint64, c_void_p
from pathlib import Path
from typing import Any
from zlib import adler32

import numpy as np
import pytest
import reference
from commands import charlm
from conftest import MakeOnce
from exports.c_library import ARGUMENTS, SOURCE, STATUSES, CharlmC, Text, draw_ids
from exports.networks import EVERY_NETWORK, IDS, STRANGE, make_model
from pages import code_blocks, text_of

from charlm.api.evaluation import score_lines
from charlm.api.model import Model, load
from charlm.core.model_file import TrainedModel, write_model
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError
from charlm.exports.exporting import export_c
from charlm.hardware import find_compiler

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
LINKED = ["-I", str(SOURCE.parent), "-lm"]
"""Options for a program that uses the library."""
V = 5
"""The number of ids of the fixture `trained`."""


@pytest.fixture(scope="module")
def library(make_once: MakeOnce) -> CharlmC:
    """Compile the library once, with all warnings as errors."""
    try:
        compiler = find_compiler()
    except CharlmError:
        pytest.skip("missing: a C compiler")
    options = ["-std=c11", "-O1", *WARNINGS, "-fPIC", "-shared"]
    command = [*compiler, *options, str(SOURCE), "-lm", "-o"]

    def compile_to(path: Path) -> None:
        subprocess.run([*command, path], check=True)

    return CharlmC(make_once("charlm.so", compile_to))


@pytest.fixture
def text(library: CharlmC, trained: TrainedModel) -> Text:
    """Return a text of a model that has an unknown id, 3, and an end-of-text id, 4."""
    return Text(library, trained, "a")


# Models


@pytest.mark.parametrize("network", EVERY_NETWORK, ids=str)
def test_logits_are_those_of_the_reference(library: CharlmC, network: dict[str, Any]) -> None:
    trained = make_model(**network)
    text = Text(library, trained)
    found = []
    for index in IDS.tolist():
        text.step(index)
        found.append(text.logits.copy())
    expected, _ = reference.read(trained.parameters, IDS.tolist())
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_model_can_be_loaded_from_memory_that_is_not_aligned(
    library: CharlmC, trained: TrainedModel
) -> None:
    data = export_c(trained)["model.bin"]
    memory, model = ctypes.create_string_buffer(b"x" + data), c_void_p()
    status = library.load_memory(ctypes.addressof(memory) + 1, len(data), model)
    assert (STATUSES[status], library.vocabulary_size(model)) == ("OK", V)


HEADER_BYTES = 48
FIRST_CHARACTER = 12
"""The number of 32-bit words before the code points."""
WRONG_WORDS = {
    "another beginning": (0, 0),
    "no ids": (2, 0),
    "no layer": (3, 0),
    "another number of layers": (3, 1),
    "no units": (4, 0),
    "too many units": (4, 2**31 - 1),
    "no width": (5, 0),
    "another width": (5, V + 1),
    "neither with an embedding nor without": (6, 2),
    "an embedding that is missing": (6, 1),
    "neither with skip connections nor without": (7, 2),
    "skip connections that are missing": (7, 1),
    "no such activation": (8, 4),
    "unknown id too large": (9, V),
    "negative first id": (10, 2**32 - 1),
    "no first id": (11, 0),
    "too many first ids": (11, 3),
    "first surrogate": (FIRST_CHARACTER, 0xD800),
    "last surrogate": (FIRST_CHARACTER, 0xDFFF),
    "no code point": (FIRST_CHARACTER, 0x110000),
}


def sealed(data: bytes) -> bytes:
    """Return the data with its checksum."""
    return data + np.array(adler32(data), "<u4").tobytes()


def with_word(data: bytes, place: int, word: int, rest: bytes = b"") -> bytes:
    """Return the data with one of its 32-bit words replaced, and more data at its end."""
    words = np.frombuffer(data, "<u4")[:-1].copy()
    words[place] = word
    return sealed(words.tobytes() + rest)


@pytest.mark.parametrize(("place", "word"), WRONG_WORDS.values(), ids=WRONG_WORDS)
def test_impossible_number_is_damage(
    library: CharlmC, trained: TrainedModel, place: int, word: int
) -> None:
    status, model = library.load_bytes(with_word(export_c(trained)["model.bin"], place, word))
    assert (status, model.value) == ("DAMAGED", None)


def test_no_bit_can_change(library: CharlmC, trained: TrainedModel) -> None:
    data = export_c(trained)["model.bin"]
    for bit in range(8 * len(data)):
        changed = int.from_bytes(data) ^ 1 << bit
        assert library.load_bytes(changed.to_bytes(len(data)))[0] == "DAMAGED"


@pytest.mark.parametrize("kept", [0, HEADER_BYTES - 1, HEADER_BYTES + 6, -1])
def test_data_that_is_cut_short_is_damaged(
    library: CharlmC, trained: TrainedModel, kept: int
) -> None:
    assert library.load_bytes(export_c(trained)["model.bin"][:kept])[0] == "DAMAGED"


def test_data_that_is_too_long_is_damaged(library: CharlmC, trained: TrainedModel) -> None:
    assert library.load_bytes(export_c(trained)["model.bin"] + b"x")[0] == "DAMAGED"


def test_network_has_at_most_64_layers(library: CharlmC) -> None:
    data = export_c(make_model(layers=64, units=1))["model.bin"]
    weights_of_a_layer = bytes(4 * 3)
    assert library.load_bytes(data)[0] == "OK"
    assert library.load_bytes(with_word(data, 3, 65, weights_of_a_layer))[0] == "DAMAGED"


@pytest.mark.parametrize(
    ("width", "expected"), [(2**21, "OK"), (2**21 + 1, "DAMAGED")], ids=["largest", "too large"]
)
def test_sizes_have_a_limit(library: CharlmC, width: int, expected: str) -> None:
    ids, layers, units, has_embedding, skip_connections, tanh, none = 1, 1, 1, 1, 0, ord("t"), -1
    sizes = [ids, layers, units, width, has_embedding, skip_connections, tanh, none, 0, 1]
    weights = 2 * width + 4
    data = b"CHARLM-3" + np.array(sizes, "<i4").tobytes() + bytes(4 * (ids + weights))
    status, model = library.load_bytes(sealed(data))
    assert status == expected
    library.free(model)


@pytest.mark.parametrize("path", [b"missing", b"."], ids=["missing", "folder"])
def test_file_that_cannot_be_read_is_told_from_a_damaged_one(library: CharlmC, path: bytes) -> None:
    model = c_void_p(1)
    assert (STATUSES[library.load(path, model)], model.value) == ("CANNOT_READ", None)


@pytest.mark.parametrize(
    ("kept", "status"), [(None, "OK"), (100, "DAMAGED"), (0, "DAMAGED")], ids=str
)
def test_file_is_loaded_as_memory_is(
    library: CharlmC, trained: TrainedModel, kept: int | None, status: str
) -> None:
    Path("model.bin").write_bytes(export_c(trained)["model.bin"][:kept])
    assert STATUSES[library.load(b"model.bin", c_void_p())] == status


# Text


LIMITS = "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
"""The first and the last characters of each length in UTF-8, and those around surrogates."""
CHARACTERS = [*STRANGE, *LIMITS]


@pytest.mark.parametrize("character", CHARACTERS, ids=ascii)
def test_character_is_read_as_its_id(library: CharlmC, character: str) -> None:
    text, expected = (Text(library, make_model(characters=CHARACTERS)) for _ in range(2))
    assert text.read(character) == 0
    expected.step(CHARACTERS.index(character))
    np.testing.assert_array_equal(text.logits, expected.logits)


@pytest.mark.parametrize("character", CHARACTERS, ids=ascii)
def test_id_is_decoded_as_its_character(library: CharlmC, character: str) -> None:
    text = Text(library, make_model(characters=CHARACTERS))
    assert text.decode(CHARACTERS.index(character)) == character


@pytest.mark.parametrize(
    ("index", "expected"),
    [(3, "\ufffd"), (4, ""), (-1, ""), (V, "")],
    ids=["unknown", "end of text", "negative", "too large"],
)
def test_other_id_is_decoded_as_in_charlm(text: Text, index: int, expected: str) -> None:
    assert text.decode(index) == expected


def test_text_is_read_id_by_id(library: CharlmC, trained: TrainedModel) -> None:
    text, expected = Text(library, trained), Text(library, trained)
    assert (text.read("aéb"), text.read("\n")) == (0, 0)
    for index in (1, 3, 2, 0):
        expected.step(index)
    np.testing.assert_array_equal(text.logits, expected.logits)


@pytest.mark.parametrize("unknown", ["é😀", unicodedata.normalize("NFD", "é")[1:]], ids=ascii)
def test_without_an_unknown_id_other_characters_are_left_out(
    library: CharlmC, unknown: str
) -> None:
    text = Text(library, make_model(characters="ab"), "a")
    before = text.state.copy()
    assert text.read(unknown) == len(unknown)
    np.testing.assert_array_equal(text.state, before)


def test_score_is_the_sum_of_the_losses_of_its_characters(library: CharlmC) -> None:
    """A state that has read nothing first reads the id with which a text begins."""
    vocabulary = Vocabulary(("a", "b", "\n"))
    trained = make_model(vocabulary=vocabulary)
    text = Text(library, trained)
    expected = Model(Path(), trained).score("\nabba")
    assert text.score("abéba") == ["OK", pytest.approx(expected.sum(), rel=1e-5), 4, 1]
    more = Model(Path(), trained).score("\nabbab")
    assert text.score("b") == ["OK", pytest.approx(more[-1], rel=1e-5), 1, 0]


@pytest.mark.parametrize("unknown_id", [None, 3])
@pytest.mark.parametrize("line", ["", "a", "abba", "aéb", "é😀éé"])
def test_score_of_a_line_is_that_of_charlm(
    line: str, unknown_id: int | None, library: CharlmC
) -> None:
    characters = ("\n", "a", "b") if unknown_id is None else ("\n", "a", "b", None)
    trained = make_model(vocabulary=Vocabulary(characters, unknown_id=unknown_id))
    text = Text(library, trained, "ba")  # is forgotten
    (row,) = score_lines(Model(Path(), trained), [line])
    status, score = text.score_line(line.encode())
    assert status == "OK"
    assert score == pytest.approx(row.score, rel=1e-5)


def test_lines_that_cannot_be_scored_are_refused(library: CharlmC, text: Text) -> None:
    without_line_break = Text(library, make_model(characters="ab"))
    assert without_line_break.score_line(b"ab")[0] == "BAD_INPUT"
    assert text.score_line(b"a\xff")[0] == "BAD_INPUT"


def test_score_that_is_not_finite_is_refused(text: Text) -> None:
    text.logits[0] = np.nan
    assert text.score("a")[0] == "NO_CHOICE"


BAD_TEXTS = {
    "cut short": b"a\xc3",
    "no lead byte": b"\xff",
    "continuation first": b"\x80",
    "continuation missing": b"\xc3a",
    "two bytes for U+007F": b"\xc1\xbf",
    "three bytes for U+07FF": b"\xe0\x9f\xbf",
    "four bytes for U+FFFF": b"\xf0\x8f\xbf\xbf",
    "surrogate": b"\xed\xa0\x80",
    "last surrogate": b"\xed\xbf\xbf",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "lead byte too large": b"\xf5\x80\x80\x80",
    "four bytes cut short": b"\xf0\x9f\x98",
    "last continuation missing": b"\xf0\x9f\x98a",
}


@pytest.mark.parametrize("data", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_text_that_is_not_utf8_is_refused(text: Text, data: bytes) -> None:
    following = b"\x80\x80\x80"  # bytes after the text must not complete it
    assert text.read_bytes(data + following, len(data)) == ("BAD_INPUT", 0)


@pytest.mark.parametrize(
    ("vocabulary", "facts", "start"),
    [
        (Vocabulary(("a", "\n", None), end_of_text_id=2), {}, [2]),
        (Vocabulary(("a", "\n")), {"paragraphs": True}, [1, 1]),
        (Vocabulary(("a", "\n")), {}, [1]),
        (Vocabulary(("a", "b")), {}, [0]),
    ],
    ids=["end of text", "paragraphs", "line break", "first id"],
)
def test_prompt_without_ids_begins_a_text(
    library: CharlmC, vocabulary: Vocabulary, facts: dict[str, Any], start: list[int]
) -> None:
    model = make_model(vocabulary=vocabulary, facts=facts)
    text, expected = (Text(library, model) for _ in range(2))
    assert text.read("é") == 1
    for index in start:
        expected.step(index)
    np.testing.assert_array_equal(text.logits, expected.logits)


# States


@pytest.mark.parametrize("index", [-1, V, 2**31 - 1])
def test_id_out_of_range_is_not_read(text: Text, index: int) -> None:
    before = text.state.copy()
    assert text.step(index) == "BAD_INPUT"
    np.testing.assert_array_equal(text.state, before)


# Sampling


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_ids_are_drawn_from_the_softmax(library: CharlmC, seed: int, temperature: float) -> None:
    text = Text(library, make_model(characters="abcd"), "a")
    logits = [0.5, 2.0, -1.0, 2.0]
    text.logits[:] = logits
    random = c_uint64(seed)
    found = [text.sample(random, temperature) for _ in range(300)]
    assert found == draw_ids(logits, seed, temperature=temperature, count=300)


def test_ids_that_are_ruled_out_are_not_drawn(text: Text) -> None:
    text.logits[:] = [0, 1, -np.inf, 9, -np.inf]  # 3 is the unknown id
    random = c_uint64(1)
    assert {text.sample(random) for _ in range(300)} == {0, 1}


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_likeliest_id_is_the_first_of_equal_ones(text: Text, temperature: float) -> None:
    text.logits[:] = [1, 2, 2, 9, 2]
    assert text.sample(c_uint64(1), temperature) == 1


@pytest.mark.parametrize(
    "logits",
    [
        pytest.param([0, np.nan, 0, 0, 0], id="NaN"),
        pytest.param([0, np.inf, 0, 0, 0], id="infinity"),
        pytest.param([-np.inf, -np.inf, -np.inf, 0, -np.inf], id="all ruled out"),
    ],
)
def test_logits_that_allow_no_choice_are_refused(text: Text, logits: list[float]) -> None:
    text.logits[:] = logits
    assert text.sample(c_uint64(1)) == "NO_CHOICE"


def test_state_that_has_read_nothing_has_no_next_character(
    library: CharlmC, trained: TrainedModel
) -> None:
    assert Text(library, trained).sample(c_uint64(1)) == "NO_CHOICE"


# Compilers


LANGUAGES = {
    "gcc": ["-std=c11"],
    "clang": ["-std=c11"],
    "g++": ["-x", "c++", "-std=c++17"],
    "clang++": ["-x", "c++", "-std=c++17"],
}


def compiler_for(name: str) -> list[str]:
    """Return the command of a compiler with its options, or skip the test."""
    if shutil.which(name) is None:
        pytest.skip(f"missing: {name}")
    return [name, *LANGUAGES[name]]


def program_on_the_page(
    compiler: list[str], *, page: str = "docs/export.md", given: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Compile and run the program on a page."""
    (code,) = code_blocks(text_of(page), "c")
    Path("yours.c").write_text(code, encoding="utf-8")
    command = [*compiler, "-O3", *WARNINGS, "yours.c", str(SOURCE), *LINKED]
    subprocess.run([*command, "-o", "yours"], check=True)
    return subprocess.run(["./yours"], input=given, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGES)
def test_program_on_the_page_prints_500_characters(name: str) -> None:
    Path("model.bin").write_bytes(export_c(make_model(characters="\n The"))["model.bin"])
    done = program_on_the_page(compiler_for(name))
    assert (done.returncode, len(done.stdout)) == (0, 500)


@pytest.mark.slow
def test_program_on_the_page_scores_lines_like_charlm(trained_run: Path) -> None:
    lines = "The ferry\nI have not \u4e2d the boat.\n"
    Path("lines.txt").write_text(lines, encoding="utf-8")
    Path("model.bin").write_bytes(export_c(load(trained_run).trained)["model.bin"])
    done = program_on_the_page(["cc"], page="docs/anomalies.md", given=lines)
    scores = [row.score for row in score_lines(trained_run, "lines.txt")]
    assert [float(score) for score in done.stdout.split()] == pytest.approx(scores, abs=1e-3)


@pytest.mark.slow
def test_program_on_the_page_fails_without_a_model() -> None:
    done = program_on_the_page(["cc"])
    assert (done.returncode, done.stdout) == (1, "error 2\n")


@pytest.mark.slow
def test_it_has_only_functions_with_its_prefix() -> None:
    """In the output of nm, T is a public function, B, C and D are writable data, U is imported."""
    subprocess.run(["cc", "-O1", "-c", SOURCE, "-o", "charlm.o"], check=True)
    lines = subprocess.run(
        ["nm", "charlm.o"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    symbols = [line.split()[-2:] for line in lines]
    public = {name.lstrip("_") for kind, name in symbols if kind.isupper() and kind != "U"}
    assert public == {f"charlm_{name}" for name in ARGUMENTS}
    assert {kind for kind, _ in symbols}.isdisjoint("BbCDdS")
    used = {name.lstrip("_") for kind, name in symbols if kind == "U"}
    assert used.isdisjoint({"exit", "abort", "printf", "fprintf", "puts", "fwrite", "stderr"})


def cross_compile(target: str) -> None:
    """Build the example program with ziglang, without a warning, as ./run."""
    pytest.importorskip("ziglang", reason="missing: ziglang")
    sources = [str(SOURCE), str(SOURCE.with_name("main.c"))]
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-O2", *WARNINGS]
    subprocess.run([*compiler, *sources, *LINKED, "-o", "run"], check=True)


@pytest.mark.nightly
@pytest.mark.parametrize("target", ["x86_64-windows-gnu", "s390x-linux-musl", "aarch64-macos"])
def test_it_compiles_for_other_machines(target: str) -> None:
    cross_compile(target)


@pytest.mark.nightly
def test_sizes_of_32_bits_are_enough(trained: TrainedModel) -> None:
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip("only an x86-64 processor under Linux runs this program")
    cross_compile("x86-linux-musl")
    write_model(Path("model.safetensors"), trained)
    Path("model.bin").write_bytes(export_c(trained)["model.bin"])
    expected = charlm(
        "sample",
        "model.safetensors",
        "-p",
        "ab",
        "-n",
        100,
        "-t",
        0,
    )
    done = subprocess.run(["./run", "model.bin", "ab", "100", "0"], capture_output=True, check=True)
    assert done.stdout == expected.stdout_bytes
