"""The machine: memory, processor and versions."""

import os
import platform
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from charlm import hardware
from charlm.errors import CharlmError

PHYSICAL_BYTES = 1000 * 4096
SYSTEM = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the missing file with the limit of a container, on a small machine."""
    monkeypatch.setattr(os, "sysconf", SYSTEM.__getitem__)
    monkeypatch.setattr(hardware, "CONTROL_GROUP", tmp_path / "memory.max")
    return tmp_path / "memory.max"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(f"{PHYSICAL_BYTES - 1}\n", PHYSICAL_BYTES - 1, id="lower limit"),
        pytest.param(f"{PHYSICAL_BYTES + 1}\n", PHYSICAL_BYTES, id="higher limit"),
        pytest.param("max\n", PHYSICAL_BYTES, id="no limit"),
        pytest.param("\xff", PHYSICAL_BYTES, id="not ASCII"),
    ],
)
def test_the_memory_is_limited_by_the_container(content: str, expected: int, limit: Path) -> None:
    limit.write_text(content, encoding="latin-1")
    assert hardware.memory_bytes() == expected


@pytest.mark.usefixtures("limit")
def test_outside_a_container_the_memory_is_that_of_the_machine() -> None:
    assert hardware.memory_bytes() == PHYSICAL_BYTES


@pytest.mark.parametrize(
    "error",
    [ValueError("unrecognized configuration name"), OSError(22, "Invalid argument")],
    ids=["unknown name", "system error"],
)
@pytest.mark.usefixtures("limit")
def test_the_memory_may_be_unknown(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", Mock(side_effect=error))
    assert hardware.memory_bytes() is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux has /proc")
def test_the_peak_memory_is_that_of_the_system() -> None:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    assert hardware.peak_memory_bytes() == pytest.approx(1024 * int(match[1]), rel=0.05)


ARM = "CPU implementer\t: 0x41\nFeatures\t: fp asimd bf16 sve\n"
CPUINFO = "processor\t: 0\nmodel name\t: A Processor: Fast\nflags\t\t: fpu avx512_bf16 avx512f\n\n"


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the missing file that describes the processor."""
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


def test_the_processor_has_a_name(described: Path) -> None:
    described.write_text(2 * CPUINFO, encoding="utf-8")
    assert hardware.processor_name() == "A Processor: Fast"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        pytest.param(2 * CPUINFO, True, id="flag"),
        pytest.param("model name\t: avx512_bf16\nflags\t\t: fpu avx2\n", False, id="name"),
        pytest.param("flags\t\t: fpu avx512_bf16x avx2\n", False, id="longer flag"),
    ],
)
def test_a_processor_multiplies_bfloat16_if_it_has_the_flag(
    cpuinfo: str, expected: bool, described: Path
) -> None:
    described.write_text(cpuinfo, encoding="utf-8")
    assert hardware.multiplies_bfloat16() == expected


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        pytest.param(2 * CPUINFO, ("avx512_bf16", "avx512f", "fpu"), id="x86"),
        pytest.param(2 * ARM, ("asimd", "bf16", "fp", "sve"), id="ARM"),
        pytest.param("model name\t: An Apple\n", ("An Apple",), id="no flags"),
    ],
)
def test_the_flags_of_a_processor_are_sorted(
    cpuinfo: str, flags: tuple[str, ...], described: Path
) -> None:
    described.write_text(cpuinfo, encoding="utf-8")
    assert hardware.processor_flags() == flags


def test_a_processor_without_a_name_is_called_by_its_architecture(described: Path) -> None:
    described.write_text(ARM, encoding="utf-8")
    assert hardware.processor_name() in {platform.processor(), platform.machine()}


@pytest.mark.usefixtures("described")
def test_an_unknown_processor_does_not_multiply_bfloat16() -> None:
    assert not hardware.multiplies_bfloat16()


AMD = "vendor_id\t: AuthenticAMD\n"
INTEL = "vendor_id\t: GenuineIntel\n"


@pytest.mark.parametrize(
    ("cpuinfo", "kernel", "precision", "reason"),
    [
        pytest.param(INTEL, (True, True), "bfloat16", "in tiles", id="tiles"),
        pytest.param(INTEL, (True, False), "float32", "without tiles", id="Intel with vectors"),
        pytest.param(AMD, (True, False), "bfloat16", "AMD", id="AMD with vectors"),
        pytest.param(AMD, (False, False), "float32", "no instructions", id="AMD without"),
        pytest.param("", (True, False), "float32", "without tiles", id="no vendor"),
    ],
)
def test_the_fastest_precision_follows_from_the_kernel(
    cpuinfo: str,
    kernel: tuple[bool, bool],
    precision: str,
    reason: str,
    described: Path,
) -> None:
    described.write_text(cpuinfo, encoding="utf-8")
    has_bfloat16, has_tiles = kernel
    found = hardware.fastest_precision(has_bfloat16=has_bfloat16, has_tiles=has_tiles)
    assert found.name == precision
    assert reason in found.reason


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        pytest.param("150000 100000", 2, id="one and a half"),
        pytest.param("max 100000", 64, id="no limit"),
        pytest.param("1 0", 64, id="period of zero"),
        pytest.param(None, 64, id="no file"),
    ],
)
def test_the_cores_are_limited_by_the_container(
    quota: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(64)}, raising=False)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota, encoding="ascii")
    monkeypatch.setattr(hardware, "CPU_QUOTA", tmp_path / "cpu.max")
    assert hardware.core_count() == cores


# The C compiler


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the whole PATH, without $CC."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("present", "found"),
    [(["clang", "gcc", "cc"], "cc"), (["clang", "gcc"], "gcc"), (["clang"], "clang")],
    ids=["all", "without cc", "clang alone"],
)
def test_the_first_compiler_on_the_path_is_found(
    programs: Path, present: list[str], found: str
) -> None:
    for name in present:
        (programs / name).touch(mode=0o755)
    assert hardware.find_compiler() == [found]


def test_the_compiler_named_by_cc_keeps_its_arguments(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs / "cc").touch(mode=0o755)
    (programs / "mine").touch(mode=0o755)
    monkeypatch.setenv("CC", "mine -x y")
    assert hardware.find_compiler() == ["mine", "-x", "y"]


def test_a_compiler_named_by_cc_that_is_missing_is_not_replaced(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs / "cc").touch(mode=0o755)
    monkeypatch.setenv("CC", "mine -x")
    with pytest.raises(
        CharlmError, match=r"looked for CC=mine -x\); set CC to one that exists, or unset it; with "
    ):
        hardware.find_compiler()


@pytest.mark.usefixtures("programs")
def test_without_a_compiler_the_message_names_a_package_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "COMPILER_PACKAGE", "nothing_such")
    with pytest.raises(
        CharlmError,
        match=r"^no C compiler \(looked for cc, gcc, clang\); pip install nothing_such ",
    ):
        hardware.find_compiler()
