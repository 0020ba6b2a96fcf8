"""`plan_benchmark`: what is measured with which settings, and what is refused."""

import subprocess
import sys
from typing import Any

import pytest

from charlm.api.benchmark import plan_benchmark
from charlm.bench.measure import Effort
from charlm.errors import CharlmError


def test_all_parts_are_planned_by_default() -> None:
    assert [*plan_benchmark().parts] == ["training", "profile", "sampling", "start", "tokenize"]


def test_named_parts_are_planned_with_the_settings() -> None:
    benchmark = plan_benchmark(["tokenize", "start"], units=[8, 16], layers=2, megabytes=0.5, rounds=4)
    assert [*benchmark.parts] == ["start", "tokenize"]
    assert [case.facts["units"] for case in benchmark.parts["start"].cases] == [8, 16]
    assert benchmark.parts["start"].cases[0].workloads[0].arguments["layers"] == 2
    assert benchmark.parts["tokenize"].cases[0].workloads[0].arguments["megabytes"] == 0.5
    assert benchmark.rounds == 4


@pytest.mark.slow
def test_a_benchmark_measures() -> None:
    benchmark = plan_benchmark(
        ["tokenize"], megabytes=0.1, rounds=1, say=pytest.fail, effort=Effort(repetitions=1, seconds=0.001)
    )
    ((name, cases),) = benchmark.results()
    assert name == "tokenize"
    assert [case["text"] for case in cases] == ["ascii", "mixed"]
    assert all(case["median"]["megabytes_per_second"] > 0 for case in cases)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": ["walking"]}, "parts: found 'walking'; must be training, profile, sampling, start or tokenize"),
        ({"units": [8, 0]}, "units: found 0; must be 1 or more"),
        ({"units": []}, "units: found 0; must be 1 or more"),
        ({"layers": 0}, "layers: found 0; must be 1 or more"),
        ({"rounds": 0}, "rounds: found 0; must be 1 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CharlmError, match=f"^{message}$"):
        plan_benchmark(**settings)


def test_the_process_that_waits_imports_neither_tensorflow_nor_numpy() -> None:
    program = """
import sys
from charlm.api.benchmark import plan_benchmark
from charlm.bench.measure import Effort
import charlm.cli.bench
effort = Effort(repetitions=1, seconds=0.001)
list(plan_benchmark(["tokenize"], megabytes=0.1, rounds=1, effort=effort).results())
plan_benchmark()
assert not {"tensorflow", "keras", "torch", "numpy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
