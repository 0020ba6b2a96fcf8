"""How kernel.c is compiled, kept and loaded, and replaced by Keras without a compiler."""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from unittest.mock import Mock

import pytest
from conftest import MakeOnce

from charlm import hardware
from charlm.config.schema import Config, ModelConfig, RnnConfig, TrainingConfig
from charlm.engines import compiler, kernel
from charlm.engines.compiler import compiler_options, describe_kernel, open_library
from charlm.engines.factory import resolve_kernel
from charlm.errors import CharlmError
from charlm.events import Event, Note
from charlm.hardware import find_compiler


def write_script(path: Path, commands: str) -> Path:
    """Write a compiler; in its commands, "$2" is the library to write and "$3" the source."""
    path.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n{commands}\n')
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def quick_compiler(make_once: MakeOnce) -> Path:
    """Return a compiler that copies a library, which is compiled once."""
    if not any(shutil.which(name) for name in hardware.COMPILERS):
        pytest.skip("missing: a C compiler")
    command = [*find_compiler(), *compiler_options(), str(compiler.SOURCE), "-lm", "-o"]
    library = make_once("native.so", lambda path: subprocess.run([*command, path], check=True))
    return make_once("compiler", lambda path: write_script(path, f'cp {library} "$2"'))


@pytest.fixture
def cache(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    quick_compiler: Path,
) -> Path:
    """Return the cache folder, which does not exist yet; the kernel is not loaded either."""
    monkeypatch.setenv("CC", str(quick_compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel, "LOADED", [])
    return tmp_path / "cache" / "charlm"


@pytest.fixture
def events() -> list[Event]:
    """Return a list for the events of a test."""
    return []


def load(events: list[Event]) -> str:
    """Return the kernel of a new process, and add its events to the list."""
    kernel.LOADED.clear()
    return resolve_kernel(Config(), on_event=events.append).training.kernel


# The compiled library


@pytest.mark.slow
def test_the_kernel_is_compiled_by_the_compiler_of_the_system(
    cache: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.setenv("CHARLM_CFLAGS", "-O0")
    assert load(events) == "compiled"
    assert len([*cache.glob("*.so")]) == 1


@pytest.mark.usefixtures("cache")
def test_python_declares_the_structs_as_c_does() -> None:
    library = open_library(lambda path: ctypes.CDLL(str(path)))
    declared = (kernel.Window, kernel.TensorStep, kernel.CommonStep)
    sizes = (ctypes.c_long * 3).in_dll(library, "struct_sizes")
    assert [*sizes] == [*map(ctypes.sizeof, declared)]


@pytest.mark.usefixtures("cache")
def test_a_new_library_and_a_kept_one_are_returned(events: list[Event]) -> None:
    loaded = [open_library(lambda path: path.name, on_event=events.append) for _ in range(2)]
    assert loaded[0] == "kernel.so"
    assert re.fullmatch(r"kernel-[0-9a-f]{20}\.so", loaded[1])


def test_only_the_user_can_read_the_cache(cache: Path, events: list[Event]) -> None:
    load(events)
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("cache")
def test_the_compiler_writes_its_temporary_files_next_to_the_library(
    events: list[Event],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = tmp_path / "noted"
    commands = f'echo "$TMPDIR" > {noted}; dirname "$2" >> {noted}; exit 1'
    monkeypatch.setenv("CC", str(write_script(tmp_path / "notes", commands)))
    load(events)
    temporary, folder = noted.read_text().split()
    assert temporary == folder


def test_a_damaged_library_is_compiled_again(cache: Path, events: list[Event]) -> None:
    load(events)
    (library,) = cache.glob("*.so")
    whole = library.read_bytes()
    library.write_bytes(whole[:100])
    assert load(events) == "compiled"
    assert len(events) == 2
    assert library.read_bytes() == whole


def test_a_library_that_cannot_be_kept_is_used(cache: Path, events: list[Event]) -> None:
    load(events)
    (library,) = cache.glob("*.so")
    library.unlink()
    library.mkdir()
    assert load(events) == "compiled"
    assert "compiled for this process only" in str(events[2])


NOT_OWN = "must be a folder that only its owner can write to"


@pytest.mark.parametrize("mode", [0o720, 0o702], ids=["group", "others"])
def test_nothing_is_kept_in_a_folder_that_others_can_write(
    mode: int, cache: Path, events: list[Event]
) -> None:
    cache.mkdir(parents=True)
    cache.chmod(mode)
    assert load(events) == "compiled"
    problem = f"{cache}: {NOT_OWN}"
    assert events[1] == Note(f"kernel: compiled for this process only: {problem}")
    assert not [*cache.glob("*.so")]


def test_the_kernel_is_kept_in_a_folder_that_others_can_read(
    cache: Path, events: list[Event]
) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o755)
    assert load(events) == "compiled"
    assert len([*cache.glob("*.so")]) == 1


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache folder in tmp_path, which only the user can write."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "charlm"
    folder.mkdir(mode=0o755)
    return folder


def test_a_folder_of_another_user_is_not_used(
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = own_folder.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    reason = f"{own_folder}: {NOT_OWN}"
    assert compiler.cache_folder() == (None, reason)


def test_a_link_is_not_used(own_folder: Path) -> None:
    own_folder.rename(own_folder.with_name("elsewhere"))
    own_folder.symlink_to("elsewhere")
    assert compiler.cache_folder() == (None, f"{own_folder}: {NOT_OWN}")


def test_a_file_in_place_of_the_folder_is_reported(own_folder: Path) -> None:
    own_folder.rmdir()
    own_folder.touch()
    assert compiler.cache_folder() == (None, f"{own_folder}: File exists")


def test_without_a_home_the_kernel_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("no home")))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert compiler.cache_folder() == (None, "no home")


Change = Callable[[pytest.MonkeyPatch], object]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: compiler.SOURCE.write_text("2"), id="source"),
        pytest.param(lambda _: compiler.HEADERS[1].write_text("2"), id="header"),
        pytest.param(lambda patch: patch.setenv("CHARLM_CFLAGS", "-O1"), id="options"),
        pytest.param(
            lambda patch: patch.setattr(compiler, "processor_flags", lambda: "another"),
            id="processor",
        ),
        pytest.param(lambda _: os.utime(os.environ["CC"], (1, 1)), id="compiler"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_a_change_compiles_the_kernel_again(
    change: Change, events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "kernel.c"
    source.write_text("1")
    script = write_script(tmp_path / "compiler", ': > "$2"')
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(compiler, "SOURCE", source)
    headers = (tmp_path / "update.h", tmp_path / "products.h")
    for header in headers:
        header.write_text("1")
    monkeypatch.setattr(compiler, "HEADERS", headers)
    for _ in range(2):
        compiler.open_library(str, on_event=events.append)
    assert len(events) == 1
    change(monkeypatch)
    for _ in range(2):
        compiler.open_library(str, on_event=events.append)
    assert len(events) == 2


@pytest.mark.usefixtures("cache")
def test_without_a_compiler_ziglang_is_used(
    events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace ziglang by a package that calls the quick compiler."""
    package = tmp_path / "ziglang"
    package.mkdir()
    command = f"[{os.environ['CC']!r}, *sys.argv[2:]]"
    program = f"import subprocess, sys; sys.exit(subprocess.call({command}))"
    (package / "__main__.py").write_text(program)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CC")
    monkeypatch.setattr(hardware, "COMPILERS", ())
    assert load(events) == "compiled"
    assert load(events) == "compiled"
    message = "kernel: compiling with ziglang, once per processor, at most 60 s"
    assert events == [Note(message)]


def test_the_kernel_is_compiled_for_speed_on_this_processor() -> None:
    assert {"-O3", "-march=native", "-fno-strict-aliasing"} <= {*compiler_options()}


def test_every_header_belongs_to_the_identity_of_the_library() -> None:
    includes = compiler.SOURCE.parent.glob("*.h")
    assert {header.name for header in compiler.HEADERS} == {header.name for header in includes}


# Keras instead of the kernel

NO_COMPILER = (
    r"no C compiler \(looked for CC=missing\); .*; "
    r"with a compiler, training is 2 to 6 times as fast"
)
COMPILER_FAILS = "false: cannot compile kernel.c: exit code 1"
CAUSES = [
    pytest.param("missing", NO_COMPILER, id="no compiler"),
    pytest.param("false", COMPILER_FAILS, id="the compiler fails"),
]


def check_replaced(
    event: Event,
    reason: str,
    *,
    changes_bits: bool,
) -> None:
    """Check that a note reports that Keras is used, with the reason."""
    assert isinstance(event, Note)
    message = event.message.removesuffix("; results will not be bit-identical")
    assert (message != event.message) == changes_bits
    assert re.fullmatch(rf"training\.kernel: using keras, because {reason}", message)


@pytest.mark.usefixtures("cache")
def test_the_start_of_the_first_error_of_the_compiler_is_reported(
    events: list[Event],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = f"echo warning >&2; echo 'error: {294 * 'x'}' >&2; echo error 2 >&2; exit 1"
    script = write_script(tmp_path / "fails", errors)
    monkeypatch.setenv("CC", str(script))
    assert load(events) == "keras"
    reason = f".*cannot compile kernel.c: error: {293 * 'x'}"  # 300 characters
    check_replaced(events[-1], reason, changes_bits=False)


@pytest.mark.parametrize(("command", "reason"), CAUSES)
@pytest.mark.usefixtures("cache")
def test_keras_is_used_without_the_kernel(
    command: str, reason: str, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", command)
    assert load(events) == "keras"
    check_replaced(events[-1], reason, changes_bits=False)


@pytest.mark.usefixtures("cache")
def test_a_config_that_asks_for_the_kernel_is_refused_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CC", "missing")
    config = Config(training=TrainingConfig(epochs=1, kernel="compiled"))
    message = rf"^training\.kernel: found compiled; must be keras: {NO_COMPILER}"
    with pytest.raises(CharlmError, match=message):
        resolve_kernel(config)


@pytest.mark.usefixtures("cache")
def test_keras_continues_a_run_that_began_with_the_kernel(
    events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "missing")
    config = Config(training=TrainingConfig(epochs=1, kernel="compiled"))
    resolved = resolve_kernel(config, on_event=events.append, is_recorded=True)
    assert resolved.training.kernel == "keras"
    check_replaced(events[-1], NO_COMPILER, changes_bits=True)


@pytest.mark.parametrize(
    ("command", "description"),
    [
        ("missing", "Keras, because there is no C compiler"),
        ("false", "compiled by false"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_the_kernel_is_described(
    command: str, description: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", command)
    assert describe_kernel().startswith(description)


@pytest.mark.parametrize(
    ("has_bfloat16", "has_tiles", "expected"),
    [
        pytest.param(True, True, "bfloat16", id="tiles"),
        pytest.param(False, False, "float32", id="no bfloat16"),
    ],
)
def test_the_library_decides_which_precision_is_faster(
    has_bfloat16: bool,
    has_tiles: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = Mock(has_bfloat16=has_bfloat16, has_tiles=has_tiles)
    monkeypatch.setattr(kernel, "LOADED", [library])
    assert kernel.choose_precision().name == expected


def test_without_a_compiler_float32_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LOADED", [])
    monkeypatch.setenv("CC", "missing")
    assert kernel.choose_precision().name == "float32"


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", "compiled"), ("bfloat16", "keras")],
)
def test_a_library_without_bfloat16_is_only_used_with_float32(
    precision: Literal["float32", "bfloat16"],
    expected: str,
    events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel, "LOADED", [Mock(has_bfloat16=False)])
    config = Config(training=TrainingConfig(epochs=1, precision=precision))
    assert resolve_kernel(config, on_event=events.append).training.kernel == expected
    if precision == "bfloat16":
        check_replaced(events[-1], r"the compiled kernel has no bfloat16, .*", changes_bits=False)


@pytest.mark.parametrize("rnn", [RnnConfig(dropout=0.5), RnnConfig(activity_regularizer="l2")])
def test_keras_is_used_silently_for_a_setting_that_the_kernel_lacks(
    rnn: RnnConfig, events: list[Event]
) -> None:
    model = ModelConfig(rnn=rnn)
    resolved = resolve_kernel(Config(model=model), on_event=events.append)
    assert (resolved.training.kernel, events) == ("keras", [])


def test_a_config_that_asks_for_the_kernel_with_a_setting_that_it_lacks_is_refused() -> None:
    model = ModelConfig(rnn=RnnConfig(dropout=0.5))
    config = Config(model=model, training=TrainingConfig(epochs=1, kernel="compiled"))
    message = r"must be keras: the compiled kernel does not support model\.rnn\.dropout$"
    with pytest.raises(CharlmError, match=message):
        resolve_kernel(config)


@pytest.mark.usefixtures("cache")
def test_a_compiler_that_hangs_is_ended(
    tmp_path: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = write_script(tmp_path / "hangs", "exec sleep 60")
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(compiler, "COMPILE_SECONDS", 0.1)
    assert load(events) == "keras"
    reason = f".*{script}: cannot compile kernel.c: no result after 0.1 s"
    check_replaced(events[-1], reason, changes_bits=False)
