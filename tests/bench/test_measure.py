"""How workloads are measured, and what is derived from their figures."""

from pathlib import Path

import pytest

from charlm.bench.cases import Case, Part, Workload
from charlm.bench.measure import Benchmark, Effort, compare, measure, summarize
from charlm.bench.timing import Figures
from charlm.errors import CharlmError

TINY = Effort(repetitions=1, seconds=0.001)
PRODUCT = Workload("numpy_product", {"rows": 2, "units": 3})
FAILING = Workload("tokenize", {"text": "klingon", "megabytes": 1})


# The limit and the ratios


def test_charlm_is_compared_with_the_faster_peer_and_the_faster_product() -> None:
    figures = {"charlm": 600.0, "keras": 200.0, "torch": 300.0, "numpy_product": 7e6, "tensorflow_product": 8e6}
    assert compare(figures, operations=10_000) == {
        **figures,
        "limit": 800.0,
        "charlm_to_peer": 2.0,
        "charlm_to_limit": 0.75,
    }


@pytest.mark.parametrize(
    ("figures", "derived"),
    [
        ({"charlm": 6.0, "torch": 3.0}, {"charlm_to_peer": 2.0}),
        ({"charlm": 6.0, "numpy_product": 40.0}, {"limit": 8.0, "charlm_to_limit": 0.75}),
        ({"keras": 2.0, "numpy_product": 40.0}, {"limit": 8.0}),
        ({"milliseconds": 5.0}, {}),
    ],
)
def test_a_ratio_needs_both_its_figures(figures: Figures, derived: Figures) -> None:
    assert compare(figures, operations=5) == figures | derived


def test_the_ratio_of_bfloat16_is_to_the_faster_peer() -> None:
    figures = {"charlm": 3.0, "charlm_bfloat16": 8.0, "keras": 2.0, "torch": 4.0}
    assert compare(figures, operations=1)["bfloat16_to_peer"] == 2


def test_each_precision_is_compared_with_its_own_peak() -> None:
    figures = {"charlm": 30.0, "charlm_bfloat16": 80.0, "peak": 600.0, "peak_bfloat16": 1000.0}
    ratios = {"charlm_to_peak": 0.5, "bfloat16_to_peak": 0.8}
    assert compare(figures, operations=10) == figures | ratios


@pytest.mark.parametrize("peak", ["peak", "peak_bfloat16"])
def test_a_part_of_a_step_is_compared_with_the_peak_of_its_precision(peak: str) -> None:
    figures = {"milliseconds": 3.0, "operations_per_second": 60.0, peak: 80.0}
    assert compare(figures, operations=0) == figures | {"of_peak": 0.75}


def test_the_median_of_a_ratio_is_taken_over_the_rounds() -> None:
    rounds = [compare({"charlm": c, "keras": k}, operations=0) for c, k in [(2, 1), (9, 3), (4, 4)]]
    median = summarize(Case({}, []), rounds)["median"]
    assert median == {"charlm": 4, "keras": 3, "charlm_to_peer": 2}  # not 4 / 3


def test_a_summary_names_the_product_that_sets_the_limit() -> None:
    rounds = [{"numpy_product": n, "tensorflow_product": t} for n, t in [(9.0, 4.0), (3.0, 5.0), (2.0, 6.0)]]
    assert summarize(Case({}, []), rounds)["limit_by"] == "tensorflow_product"
    assert summarize(Case({}, []), [{"milliseconds": 1.0}])["limit_by"] is None


# One workload


def test_a_workload_runs_in_its_own_process_and_returns_its_figures() -> None:
    figures = measure(PRODUCT, TINY)
    assert list(figures) == ["numpy_product"]
    assert figures["numpy_product"] > 0


@pytest.mark.slow
def test_a_workload_that_fails_is_an_error_with_its_reason() -> None:
    with pytest.raises(CharlmError, match=r"^KeyError: 'klingon'$"):
        measure(FAILING, TINY)


def test_a_workload_that_is_killed_is_an_error_with_the_signal(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n", encoding="utf-8")
    script.chmod(0o755)
    with pytest.raises(CharlmError, match=r"^ended by SIGKILL$"):
        measure(PRODUCT, TINY, python=str(script))


# A benchmark


def part(*workloads: Workload) -> Part:
    return Part("a title", {"numpy_product": "product"}, [Case({"units": 3}, workloads, operations=2)])


def test_workloads_take_turns_round_by_round() -> None:
    order: list[str] = []

    def note(workload: Workload, effort: Effort) -> Figures:
        order.append(workload.name)
        return {}

    parts = {"start": part(Workload("a", {}), Workload("b", {}))}
    list(Benchmark(parts, rounds=3, say=pytest.fail, measure=note).results())
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_the_effort_reaches_the_workloads() -> None:
    efforts: list[Effort] = []

    def note(workload: Workload, effort: Effort) -> Figures:
        efforts.append(effort)
        return {}

    list(Benchmark({"start": part(PRODUCT)}, rounds=1, say=pytest.fail, effort=TINY, measure=note).results())
    list(Benchmark({"start": part(PRODUCT)}, rounds=1, say=pytest.fail, measure=note).results())
    assert efforts == [TINY, Effort(3, 0.2)]


def test_the_results_have_the_rounds_of_each_case_and_their_limit() -> None:
    benchmark = Benchmark({"start": part(PRODUCT)}, rounds=2, say=pytest.fail, measure=lambda *_: {"numpy_product": 6})
    figures = {"numpy_product": 6, "limit": 3}
    summary = {"units": 3, "median": figures, "limit_by": "numpy_product", "rounds": [figures, figures]}
    assert list(benchmark.results()) == [("start", [summary])]
    assert benchmark.failures == []


@pytest.mark.slow
def test_a_workload_that_fails_is_named_once_and_the_others_go_on() -> None:
    said: list[str] = []
    benchmark = Benchmark({"start": part(FAILING, PRODUCT)}, rounds=2, say=said.append, effort=TINY)
    ((_, (summary,)),) = benchmark.results()
    assert said == benchmark.failures == ["start, units 3: tokenize failed: KeyError: 'klingon'"]
    assert [list(figures) for figures in summary["rounds"]] == [["numpy_product", "limit"]] * 2
