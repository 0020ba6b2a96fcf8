"""The machine: memory, processor and versions."""

import os
from pathlib import Path

import pytest

import charlm
from charlm.hardware import (
    PRODUCT_THREADS,
    core_count,
    describe_machine,
    limit_product_threads,
    memory_bytes,
    multiplies_bfloat16,
    processor_name,
)

PHYSICAL_BYTES = 1000 * 4096


def sysconf(name: str) -> int:
    return {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}[name]


# Memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, PHYSICAL_BYTES) for text in (None, "max\n", "", "\xff")),
        (f"{PHYSICAL_BYTES - 1}\n", PHYSICAL_BYTES - 1),
        (f"{PHYSICAL_BYTES + 1}\n", PHYSICAL_BYTES),
    ],
)
def test_the_memory_is_the_lower_of_machine_and_container(text: str | None, expected: int, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "limit").write_text(text, encoding="latin-1")
    assert memory_bytes(control_group=tmp_path / "limit", sysconf=sysconf) == expected


@pytest.mark.parametrize("error", [ValueError("unrecognized configuration name"), OSError(22, "Invalid argument")])
def test_memory_that_the_system_does_not_tell_is_unknown(error: Exception, tmp_path: Path) -> None:
    def fail(_: str) -> int:
        raise error

    assert memory_bytes(control_group=tmp_path / "limit", sysconf=fail) is None


# Processor


def test_a_processor_has_its_name_and_is_told_from_others_without_bfloat16(tmp_path: Path) -> None:
    core = "processor\t: 0\nmodel name\t: A Processor: Fast\nflags\t\t: fpu avx512_bf16 avx512f\n\n"
    for name, text in (("new", core * 2), ("old", "model name\t: avx512_bf16\nflags\t\t: fpu avx512_bf16x avx2\n")):
        (tmp_path / name).write_text(text)
    assert processor_name(cpuinfo=tmp_path / "new") == "A Processor: Fast"
    found = [multiplies_bfloat16(cpuinfo=tmp_path / name) for name in ("new", "old", "missing")]
    assert found == [True, False, False]


# Versions


def test_the_machine_is_described_by_processor_cores_and_versions() -> None:
    description = describe_machine()
    assert list(description) == ["cpu", "cores", "python", "charlm", "numpy", "tensorflow", "keras", "torch"]
    assert description["charlm"] == charlm.__version__
    assert description["cores"] == core_count() >= 1


def test_product_threads_are_limited_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PRODUCT_THREADS:
        monkeypatch.setenv(name, "7")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    limit_product_threads(2)
    assert [os.environ[name] for name in PRODUCT_THREADS] == ["2", "2", "2", "5"]


# Cores


def test_the_cores_are_those_that_a_container_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(64)}, raising=False)
    assert core_count(quota=tmp_path / "cpu.max") == 64
    for quota, cores in (("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("", 64), ("1 0", 64)):
        (tmp_path / "cpu.max").write_text(quota, encoding="ascii")
        assert core_count(quota=tmp_path / "cpu.max") == cores
