"""The library in C: its results, and the status that it returns for each error."""

import ctypes
import platform
import shutil
import subprocess
import sys
import unicodedata
from ctypes import c_int32, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from commands import charlm
from conftest import MakeOnce
from formats.c_library import SIGNATURES, SOURCE, STATUSES, CharlmC, draw_ids
from formats.networks import EVERY_NETWORK, IDS, STRANGE, make_model
from pages import code_blocks, text_of

from charlm.errors import CharlmError
from charlm.formats.exporting import export_c
from charlm.hardware import find_compiler
from charlm.network.model_file import TrainedModel, write_model
from charlm.text.vocabulary import Vocabulary

WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror"]
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
def model(library: CharlmC, trained: TrainedModel) -> c_void_p:
    """Return a model that has an unknown id, 3, and an end-of-text id, 4."""
    return library.load(trained)


@pytest.fixture
def state(library: CharlmC, model: c_void_p) -> c_void_p:
    """Return a state of the model that has read a character."""
    return library.new_state(model, "a")


# Models


@pytest.mark.parametrize("network", EVERY_NETWORK, ids=str)
def test_logits_are_those_of_the_reference(library: CharlmC, network: dict[str, Any]) -> None:
    trained = make_model(**network)
    state = library.new_state(library.load(trained))
    found = []
    for index in IDS.tolist():
        library.use("charlm_step", state, index)
        found.append(library.logits(state, V).copy())
    expected, _ = reference.read(trained.parameters, IDS.tolist())
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_model_can_be_loaded_from_memory_that_is_not_aligned(
    library: CharlmC, trained: TrainedModel
) -> None:
    data = export_c(trained)["model.bin"]
    memory, model = ctypes.create_string_buffer(b"x" + data), c_void_p()
    library.use("charlm_load_memory", ctypes.addressof(memory) + 1, len(data), ctypes.byref(model))
    assert library.functions.charlm_vocabulary_size(model) == V


HEADER_BYTES = 44
FIRST_CHARACTER = 11
"""The number of 32-bit words before the code points."""
NOT_A_MODEL = {"empty": 0, "cut in the header": HEADER_BYTES - 1}
CUT = {
    "without characters": HEADER_BYTES,
    "cut in the characters": HEADER_BYTES + 6,
    "cut in the weights": HEADER_BYTES + 4 * V + 101,
    "cut at the end": -1,
}
WRONG_WORDS = {
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
    "end-of-text id too large": (10, V),
    "negative end-of-text id": (10, 2**32 - 2),
    "first surrogate": (FIRST_CHARACTER, 0xD800),
    "last surrogate": (FIRST_CHARACTER, 0xDFFF),
    "no code point": (FIRST_CHARACTER, 0x110000),
}


def with_word(
    data: bytes,
    place: int,
    word: int,
) -> bytes:
    """Return the data with one of its 32-bit words replaced."""
    words = np.frombuffer(data, "<u4").copy()
    words[place] = word
    return words.tobytes()


@pytest.mark.parametrize("kept", NOT_A_MODEL.values(), ids=NOT_A_MODEL)
def test_data_without_a_header_is_no_model(
    library: CharlmC,
    trained: TrainedModel,
    kept: int,
) -> None:
    status, model = library.load_bytes(export_c(trained)["model.bin"][:kept])
    assert (status, model.value) == ("CHARLM_NOT_A_MODEL", None)


@pytest.mark.parametrize("place", [0, 1])
def test_data_with_another_beginning_is_no_model(
    library: CharlmC,
    trained: TrainedModel,
    place: int,
) -> None:
    status, model = library.load_bytes(with_word(export_c(trained)["model.bin"], place, 0))
    assert (status, model.value) == ("CHARLM_NOT_A_MODEL", None)


@pytest.mark.parametrize("kept", CUT.values(), ids=CUT)
def test_data_that_is_cut_short_is_damaged(
    library: CharlmC,
    trained: TrainedModel,
    kept: int,
) -> None:
    status, model = library.load_bytes(export_c(trained)["model.bin"][:kept])
    assert (status, model.value) == ("CHARLM_DAMAGED", None)


def test_data_that_is_too_long_is_damaged(library: CharlmC, trained: TrainedModel) -> None:
    status, model = library.load_bytes(export_c(trained)["model.bin"] + b"x")
    assert (status, model.value) == ("CHARLM_DAMAGED", None)


@pytest.mark.parametrize(("place", "word"), WRONG_WORDS.values(), ids=WRONG_WORDS)
def test_impossible_number_is_damage(
    library: CharlmC,
    trained: TrainedModel,
    place: int,
    word: int,
) -> None:
    status, model = library.load_bytes(with_word(export_c(trained)["model.bin"], place, word))
    assert (status, model.value) == ("CHARLM_DAMAGED", None)


def test_network_has_at_most_64_layers(library: CharlmC) -> None:
    data = export_c(make_model(layers=64, units=1))["model.bin"]
    weights_of_a_layer = bytes(4 * 3)
    more = with_word(data, 3, 65) + weights_of_a_layer
    assert library.load_bytes(data)[0] == "CHARLM_OK"
    assert library.load_bytes(more)[0] == "CHARLM_DAMAGED"


LARGEST = 2**21
"""The largest number of ids, and the largest width of an embedding."""


@pytest.mark.parametrize("excess", [0, 1], ids=["largest", "too large"])
@pytest.mark.parametrize("has_embedding", [False, True], ids=["ids", "embedding"])
def test_sizes_have_a_limit(
    library: CharlmC,
    has_embedding: bool,
    excess: int,
) -> None:
    width = LARGEST + excess
    ids = 1 if has_embedding else width
    layers, units, skip_connections, tanh, none = 1, 1, 0, 0, -1
    sizes = [ids, layers, units, width, int(has_embedding), skip_connections, tanh, none, none]
    embedding = width if has_embedding else 0
    kernel, bias, recurrent_kernel = width, 1, 1
    weights = embedding + kernel + bias + recurrent_kernel + 2 * ids
    data = b"CHARLM-1" + np.array(sizes, "<i4").tobytes() + bytes(4 * (ids + weights))
    status, model = library.load_bytes(data)
    expected = ("CHARLM_DAMAGED", 0) if excess else ("CHARLM_OK", ids)
    assert (status, library.functions.charlm_vocabulary_size(model)) == expected
    library.functions.charlm_free_model(model)


@pytest.mark.parametrize("path", [b"missing", b"."], ids=["missing", "folder"])
def test_file_that_cannot_be_read_is_told_from_a_damaged_one(library: CharlmC, path: bytes) -> None:
    model = c_void_p(1)
    assert library.call("charlm_load", path, ctypes.byref(model)) == "CHARLM_CANNOT_READ"
    assert model.value is None


@pytest.mark.parametrize(
    ("kept", "status"),
    [(None, "CHARLM_OK"), (100, "CHARLM_DAMAGED"), (0, "CHARLM_NOT_A_MODEL")],
    ids=str,
)
def test_file_is_loaded_as_memory_is(
    library: CharlmC,
    trained: TrainedModel,
    kept: int | None,
    status: str,
) -> None:
    Path("model.bin").write_bytes(export_c(trained)["model.bin"][:kept])
    model = c_void_p(1)
    assert library.call("charlm_load", b"model.bin", ctypes.byref(model)) == status
    assert (model.value is not None) == (status == "CHARLM_OK")


# Text


def test_ids_are_those_of_charlm(library: CharlmC) -> None:
    trained = make_model(characters=STRANGE)
    text = "".join(reversed(STRANGE))
    assert library.encode(library.load(trained), text) == (
        trained.vocabulary.encode(text).tolist(),
        0,
    )


def test_character_without_an_id_becomes_the_unknown_id(library: CharlmC, model: c_void_p) -> None:
    assert library.encode(model, "aé😀b") == ([1, 3, 3, 2], 0)


def test_without_an_unknown_id_such_characters_are_left_out(library: CharlmC) -> None:
    assert library.encode(library.load(make_model(characters="ab")), "aé😀b") == ([0, 1], 2)


def test_combining_accent_is_left_out(library: CharlmC) -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    assert library.encode(library.load(make_model(characters="eé")), decomposed) == ([0], 1)


LIMITS = "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
"""The first and the last characters of each length in UTF-8, and those around surrogates."""


@pytest.mark.parametrize("character", [*STRANGE, *LIMITS], ids=ascii)
def test_id_is_decoded_as_its_character(library: CharlmC, character: str) -> None:
    characters = [*STRANGE, *LIMITS]
    model = library.load(make_model(characters=characters))
    assert library.decode(model, characters.index(character)) == character


@pytest.mark.parametrize("character", LIMITS, ids=ascii)
def test_character_is_encoded_as_its_id(library: CharlmC, character: str) -> None:
    model = library.load(make_model(characters=LIMITS))
    assert library.encode(model, f"?{character}?") == ([LIMITS.index(character)], 2)


@pytest.mark.parametrize(
    ("index", "expected"), [(3, "\ufffd"), (4, "")], ids=["unknown", "end of text"]
)
def test_reserved_id_is_decoded_as_in_charlm(
    library: CharlmC,
    model: c_void_p,
    index: int,
    expected: str,
) -> None:
    assert library.decode(model, index) == expected


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
    "three bytes cut short": b"\xe2\x82",
    "four bytes cut short": b"\xf0\x9f\x98",
    "last continuation missing": b"\xf0\x9f\x98a",
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_text_that_is_not_utf8_has_no_ids(
    library: CharlmC,
    model: c_void_p,
    text: bytes,
) -> None:
    ids, count, left_out = (c_int32 * 8)(), c_size_t(9), c_size_t(9)
    memory = text + b"\x80\x80\x80"  # bytes after the text must not complete it
    arguments = (ids, ctypes.byref(count), ctypes.byref(left_out))
    status = library.call("charlm_encode", model, memory, len(text), *arguments)
    assert (status, count.value, left_out.value) == ("CHARLM_NOT_UTF8", 0, 0)


def test_prompt_that_is_not_utf8_leaves_the_state_as_it_was(
    library: CharlmC, state: c_void_p
) -> None:
    before = library.logits(state, V).copy()
    assert library.call("charlm_read_text", state, b"ab\xff", 3, None) == "CHARLM_NOT_UTF8"
    np.testing.assert_array_equal(library.logits(state, V), before)


@pytest.mark.parametrize(
    ("vocabulary", "start"),
    [
        (Vocabulary(("a", "\n", None), end_of_text_id=2), 2),
        (Vocabulary(("a", "\n")), 1),
        (Vocabulary(("a", "b")), 0),
    ],
    ids=["end of text", "line break", "first id"],
)
def test_prompt_without_ids_begins_a_text(
    library: CharlmC,
    vocabulary: Vocabulary,
    start: int,
) -> None:
    model = library.load(make_model(vocabulary=vocabulary))
    state, expected = library.new_state(model), library.new_state(model)
    assert library.read_text(state, "é") == 1
    library.use("charlm_step", expected, start)
    size = len(vocabulary)
    np.testing.assert_array_equal(library.logits(state, size), library.logits(expected, size))


def test_text_is_read_id_by_id(library: CharlmC, model: c_void_p) -> None:
    state, expected = library.new_state(model), library.new_state(model)
    assert library.read_text(state, "aéb") == 0
    assert library.read_text(state, "\n") == 0
    for index in (1, 3, 2, 0):
        library.use("charlm_step", expected, index)
    np.testing.assert_array_equal(library.logits(state, V), library.logits(expected, V))


def test_text_without_ids_changes_no_state_that_has_read(library: CharlmC) -> None:
    state = library.new_state(library.load(make_model(characters="ab")), "a")
    before = library.logits(state, 2).copy()
    assert library.read_text(state, "é") == 1
    np.testing.assert_array_equal(library.logits(state, 2), before)


# States


def test_two_models_do_not_disturb_each_other(library: CharlmC, trained: TrainedModel) -> None:
    models = [
        library.load(trained),
        library.load(make_model(characters=STRANGE, layers=3, embedding=3)),
    ]
    alone = [
        library.generate(library.new_state(model, ""), random=c_uint64(1), length=200)
        for model in models
    ]
    states = [library.new_state(model, "") for model in models]
    seeds = [c_uint64(1), c_uint64(1)]
    interleaved: list[list[int]] = [[], []]
    for _ in range(200):
        for number in range(2):
            interleaved[number] += library.generate(states[number], random=seeds[number])
    assert interleaved == alone


def test_copied_state_continues_the_text(
    library: CharlmC,
    model: c_void_p,
    state: c_void_p,
) -> None:
    copy = library.new_state(model)
    library.use("charlm_copy_state", copy, state)
    expected = library.generate(state, random=c_uint64(1), length=50)
    assert library.generate(copy, random=c_uint64(1), length=50) == expected


def test_copy_of_a_state_that_has_read_nothing_has_read_nothing(
    library: CharlmC,
    model: c_void_p,
    state: c_void_p,
) -> None:
    library.use("charlm_copy_state", state, library.new_state(model))
    assert not library.functions.charlm_logits(state)


def test_reset_state_begins_again(library: CharlmC, state: c_void_p) -> None:
    before = library.logits(state, V).copy()
    library.generate(state, random=c_uint64(1), length=5)
    library.functions.charlm_reset_state(state)
    assert not library.functions.charlm_logits(state)
    library.read_text(state, "a")
    np.testing.assert_array_equal(library.logits(state, V), before)


# Sampling


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [0, 1, 2, 3, 4, 9])
def test_ids_are_drawn_from_the_most_likely_ones(
    library: CharlmC,
    seed: int,
    temperature: float,
    top_k: int,
) -> None:
    state = library.new_state(library.load(make_model(characters="abcd")), "a")
    logits = [0.5, 2.0, -1.0, 2.0]
    library.logits(state, 4)[:] = logits
    random = c_uint64(seed)
    found = [
        library.sample(state, temperature=temperature, top_k=top_k, random=random)
        for _ in range(300)
    ]
    assert found == draw_ids(logits, seed, temperature=temperature, top_k=top_k, count=300)


def test_ids_that_are_ruled_out_are_not_drawn(library: CharlmC, state: c_void_p) -> None:
    library.logits(state, V)[:] = [0, 1, -np.inf, 9, -np.inf]  # 3 is the unknown id
    random = c_uint64(1)
    assert {library.sample(state, random=random) for _ in range(300)} == {0, 1}


@pytest.mark.parametrize(
    ("temperature", "top_k"), [(0.0, 0), (1.0, 1)], ids=["temperature 0", "top 1"]
)
def test_likeliest_id_is_the_first_of_equal_ones(
    library: CharlmC,
    state: c_void_p,
    temperature: float,
    top_k: int,
) -> None:
    library.logits(state, V)[:] = [1, 2, 2, 9, 2]
    assert library.sample(state, temperature=temperature, top_k=top_k, random=c_uint64(1)) == 1


NO_SAMPLE = {
    "NaN": ([0, np.nan, 0, 0, 0], "CHARLM_NOT_FINITE"),
    "infinity": ([0, np.inf, 0, 0, 0], "CHARLM_NOT_FINITE"),
    "all ruled out": ([-np.inf] * 3 + [0, -np.inf], "CHARLM_NO_CHOICE"),
}


@pytest.mark.parametrize(("logits", "status"), NO_SAMPLE.values(), ids=NO_SAMPLE)
def test_logits_that_allow_no_choice_are_refused(
    library: CharlmC,
    state: c_void_p,
    logits: list[float],
    status: str,
) -> None:
    library.logits(state, V)[:] = logits
    seed, index = c_uint64(1), c_int32(7)
    assert (
        library.call("charlm_sample", state, 0.0, 0, ctypes.byref(seed), ctypes.byref(index))
        == status
    )
    assert index.value == -1


def test_unknown_id_alone_is_no_choice(library: CharlmC) -> None:
    state = library.new_state(
        library.load(make_model(vocabulary=Vocabulary((None,), unknown_id=0))), ""
    )
    seed, index = c_uint64(1), c_int32()
    status = library.call("charlm_sample", state, 1.0, 0, ctypes.byref(seed), ctypes.byref(index))
    assert status == "CHARLM_NO_CHOICE"


@pytest.mark.parametrize("temperature", [-0.1, np.nan, np.inf])
def test_impossible_temperature_is_refused(
    library: CharlmC,
    state: c_void_p,
    temperature: float,
) -> None:
    seed, index = c_uint64(1), c_int32()
    status = library.call(
        "charlm_sample", state, temperature, 0, ctypes.byref(seed), ctypes.byref(index)
    )
    assert status == "CHARLM_BAD_TEMPERATURE"


def test_state_that_has_read_nothing_has_no_next_character(
    library: CharlmC, model: c_void_p
) -> None:
    seed, index = c_uint64(1), c_int32()
    status = library.call(
        "charlm_sample", library.new_state(model), 1.0, 0, ctypes.byref(seed), ctypes.byref(index)
    )
    assert status == "CHARLM_NOTHING_READ"


# Mistakes of the caller


MESSAGES = {
    "CHARLM_OK": "no error",
    "CHARLM_NULL": "a pointer is NULL",
    "CHARLM_NO_MEMORY": "not enough memory",
    "CHARLM_CANNOT_READ": "the file cannot be read",
    "CHARLM_NOT_A_MODEL": "not a model.bin that charlm has exported",
    "CHARLM_DAMAGED": "the model is damaged",
    "CHARLM_NOT_UTF8": "the text is not UTF-8",
    "CHARLM_BAD_ID": "the model has no such id",
    "CHARLM_BAD_TEMPERATURE": "the temperature must be 0 or more, and finite",
    "CHARLM_DIFFERENT_MODELS": "the states belong to different models",
    "CHARLM_NOTHING_READ": "the state has read nothing yet",
    "CHARLM_NOT_FINITE": "a logit is not finite",
    "CHARLM_NO_CHOICE": "no character can be chosen",
}


def test_every_status_has_its_message(library: CharlmC) -> None:
    found = [library.functions.charlm_message(number) for number in range(len(STATUSES))]
    assert dict(zip(STATUSES, found, strict=True)) == {
        name: message.encode() for name, message in MESSAGES.items()
    }


@pytest.mark.parametrize("number", [-1, 13])
def test_other_numbers_have_a_message(library: CharlmC, number: int) -> None:
    assert library.functions.charlm_message(number) == b"unknown status"


@pytest.mark.parametrize("index", [-1, V, 2**31 - 1])
def test_id_out_of_range_is_not_read(
    library: CharlmC,
    state: c_void_p,
    index: int,
) -> None:
    assert library.call("charlm_step", state, index) == "CHARLM_BAD_ID"


@pytest.mark.parametrize("index", [-1, V, 2**31 - 1])
def test_id_out_of_range_has_no_character(
    library: CharlmC,
    model: c_void_p,
    index: int,
) -> None:
    text = ctypes.create_string_buffer(b"xxxx")
    assert library.call("charlm_decode", model, index, text, None) == "CHARLM_BAD_ID"
    assert text.value == b""


def test_state_of_another_model_is_not_copied(
    library: CharlmC,
    trained: TrainedModel,
    state: c_void_p,
) -> None:
    other = library.new_state(library.load(trained))
    assert library.call("charlm_copy_state", other, state) == "CHARLM_DIFFERENT_MODELS"


@pytest.mark.parametrize("name", SIGNATURES)
def test_null_is_refused(library: CharlmC, name: str) -> None:
    arguments = [
        1 if kind in {c_size_t, c_int32, ctypes.c_double} else None for kind in SIGNATURES[name]
    ]
    assert library.call(name, *arguments) == "CHARLM_NULL"


@pytest.mark.parametrize("name", ["charlm_free_model", "charlm_free_state", "charlm_reset_state"])
def test_null_can_be_freed(library: CharlmC, name: str) -> None:
    getattr(library.functions, name)(None)


def test_null_has_no_ids(library: CharlmC) -> None:
    assert library.functions.charlm_vocabulary_size(None) == 0


# Compilers and threads


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


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGES)
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_it_compiles_without_a_warning(name: str, level: str) -> None:
    subprocess.run(
        [*compiler_for(name), level, *WARNINGS, "-c", SOURCE, "-o", "charlm.o"], check=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGES)
def test_program_on_the_page_prints_500_characters(name: str) -> None:
    Path("model.bin").write_bytes(export_c(make_model(characters="\n The"))["model.bin"])
    (code,) = code_blocks(text_of("docs/export.md"), "c")
    Path("yours.c").write_text(code, encoding="utf-8")
    command = [*compiler_for(name), "-O3", *WARNINGS, "yours.c", str(SOURCE), *LINKED]
    subprocess.run([*command, "-o", "yours"], check=True)
    done = subprocess.run(["./yours"], capture_output=True, text=True, check=True)
    assert len(done.stdout) == 500


@pytest.mark.slow
def test_program_on_the_page_explains_a_failure() -> None:
    (code,) = code_blocks(text_of("docs/export.md"), "c")
    Path("yours.c").write_text(code, encoding="utf-8")
    subprocess.run(["cc", "yours.c", str(SOURCE), *LINKED, "-o", "yours"], check=True)
    done = subprocess.run(["./yours"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "the file cannot be read\n")


@pytest.mark.slow
def test_it_has_only_functions_with_its_prefix() -> None:
    """In the output of nm, T is a public function, B, C and D are writable data, U is imported."""
    subprocess.run(["cc", "-O1", "-c", SOURCE, "-o", "charlm.o"], check=True)
    lines = subprocess.run(
        ["nm", "charlm.o"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    symbols = [line.split()[-2:] for line in lines]
    public = [name.lstrip("_") for kind, name in symbols if kind.isupper() and kind != "U"]
    assert len(public) == len(SIGNATURES) + 6
    assert all(name.startswith("charlm_") for name in public)
    assert {kind for kind, _ in symbols}.isdisjoint("BbCDdS")
    used = {name.lstrip("_") for kind, name in symbols if kind == "U"}
    assert used.isdisjoint(
        {"exit", "abort", "printf", "fprintf", "puts", "putchar", "fwrite", "stdout", "stderr"}
    )


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
    expected = charlm("sample", "model.safetensors", "-p", "ab", "-n", 100, "-t", 0)
    done = subprocess.run(["./run", "model.bin", "ab", "100", "0"], capture_output=True, check=True)
    assert done.stdout == expected.stdout_bytes


@pytest.mark.slow
def test_two_threads_generate_the_same_text_with_one_model(trained: TrainedModel) -> None:
    Path("model.bin").write_bytes(export_c(trained)["model.bin"])
    program = Path(__file__).with_name("threads.c")
    compiler = ["cc", "-O1", "-g", "-fsanitize=thread", "-pthread"]
    command = [*compiler, str(program), str(SOURCE), *LINKED, "-o", "threads"]
    built = subprocess.run(command, capture_output=True, check=False)
    if built.returncode:
        pytest.skip("missing: the thread sanitizer")
    done = subprocess.run(["./threads", "model.bin"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == second
    assert len(first.split()) == 2000
