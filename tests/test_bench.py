"""Who is measured, in which order, and what is made of the figures; and once, the real thing on tiny networks."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from charlm import bench, bench_parts, contenders
from charlm.bench import Figures, compare, measure, summary, table
from charlm.bench_parts import Case, Contender, Part, Settings
from charlm.cli import main
from charlm.errors import CharlmError
from charlm.training.runtime import multiplies_bfloat16

SETTINGS = Settings(units=(8,), layers=1, batch=4, time=5, rounds=1)
ADD = Contender("numpy_product", {"rows": 2, "units": 3})
FAIL = Contender("tokenize", {"text": "klingon", "megabytes": 1})
TINY = {"repetitions": 1, "seconds": 0.001}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure so little that it takes no time."""
    monkeypatch.setattr(bench, "EFFORT", TINY)
    monkeypatch.setattr(bench_parts, "MEGABYTES", 0.1)


def run_bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "--units", "8", "--batch", "4", "--time", "5", *arguments])


def use(monkeypatch: pytest.MonkeyPatch, *cases: Case) -> None:
    """Make the part `start` one of these cases."""
    part = Part("a title", {"numpy_product": "product", "torch": "PyTorch"}, cases)
    monkeypatch.setattr(bench, "PARTS", {"start": lambda _: part})


# The limit and the ratios


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(1, 6 * 8 * 8 + 6 * 8 * 65), (2, 6 * 8 * 8 + 12 * 8 * 8 + 6 * 8 * 65)],
)
def test_training_a_character_takes_six_operations_for_each_weight(layers: int, expected: int) -> None:
    (case,) = bench_parts.PARTS["training"](replace(SETTINGS, layers=layers)).cases
    assert case.operations == expected


@pytest.mark.parametrize(
    ("layers", "expected"), [(1, 2 * 8 * 8 + 2 * 8 * 65), (3, 2 * 8 * 8 + 2 * 4 * 8 * 8 + 2 * 8 * 65)]
)
def test_sampling_a_character_takes_two_operations_for_each_weight(layers: int, expected: int) -> None:
    cases = bench_parts.PARTS["sampling"](replace(SETTINGS, layers=layers)).cases
    assert [case.operations for case in cases] == [expected, expected]


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


def test_the_median_of_a_ratio_is_taken_over_the_rounds() -> None:
    rounds = [compare({"charlm": c, "keras": k}, operations=0) for c, k in [(2, 1), (9, 3), (4, 4)]]
    median = summary(Case({}, []), rounds)["median"]
    assert median == {"charlm": 4, "keras": 3, "charlm_to_peer": 2}  # not 4 / 3


def test_a_summary_names_the_product_that_sets_the_limit() -> None:
    rounds = [{"numpy_product": n, "tensorflow_product": t} for n, t in [(9.0, 4.0), (3.0, 5.0), (2.0, 6.0)]]
    assert summary(Case({}, []), rounds)["limit_by"] == "tensorflow_product"
    assert summary(Case({}, []), [{"milliseconds": 1.0}])["limit_by"] is None


# The contest


def test_contenders_take_turns_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def note(contender: Contender) -> Figures:
        order.append(contender.name)
        return {}

    use(monkeypatch, Case({"units": 1}, [Contender("a", {}), Contender("b", {})]))
    monkeypatch.setattr(bench, "measure", note)
    assert run_bench("--rounds", "3").exit_code == 0
    assert order == ["a", "b", "a", "b", "a", "b"]


@pytest.mark.parametrize("is_installed", [True, False])
def test_pytorch_takes_part_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, is_installed: bool) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if is_installed else None)
    (case,) = bench_parts.PARTS["training"](SETTINGS).cases
    assert ("torch" in [contender.name for contender in case.contenders]) == is_installed


def test_a_contender_that_fails_is_named_once_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Case({"units": 3}, [FAIL, ADD], operations=1))
    result = run_bench("--rounds", "2", "--json")
    failure = "start, units 3: tokenize failed: KeyError: 'klingon'"
    assert result.exit_code == 1
    assert result.stderr.count(f"charlm: {failure}\n") == 1
    assert result.stderr.endswith("charlm: 1 of the contenders failed; the other figures stand\n")
    report = json.loads(result.stdout)
    assert report["failures"] == [failure]
    assert [list(figures) for figures in report["start"][0]["rounds"]] == [["numpy_product", "limit"]] * 2


def test_a_contender_that_is_killed_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(CharlmError, match="ended by SIGKILL"):
        measure(ADD)


def test_speed_is_that_of_the_best_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = 0.0, [0]

    def run(turns: int) -> None:
        nonlocal clock
        clock += turns * {1: 9.0, 5: 0.5, 10: 0.5, 20: [0.5, 0.25, 1.0][calls.count(20)]}[turns]
        calls.append(turns)

    monkeypatch.setattr("time.perf_counter", lambda: clock)
    assert contenders.per_second(run, repetitions=3, seconds=8.0) == 4
    assert calls == [0, 1, 5, 10, 20, 20, 20]


@pytest.mark.parametrize("has_it", [False, True])
def test_bfloat16_takes_part_where_the_processor_has_it(has_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.training.runtime.multiplies_bfloat16", lambda: has_it)
    settings = bench_parts.Settings(units=(8,), layers=1, batch=4, time=5, rounds=1)
    (case,) = bench_parts.PARTS["training"](settings).cases
    wanted = [contender.arguments.get("precision") for contender in case.contenders if contender.name == "charlm"]
    assert wanted == ([None, "bfloat16"] if has_it else [None])


def test_the_ratio_of_bfloat16_is_to_the_faster_peer() -> None:
    figures = {"charlm": 3.0, "charlm_bfloat16": 8.0, "keras": 2.0, "torch": 4.0}
    assert compare(figures, operations=1)["bfloat16_to_peer"] == 2


# The command


def test_every_part_is_measured_by_default() -> None:
    result = run_bench("--rounds", "1", "--layers", "2", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["settings"] == {"units": [8], "layers": 2, "batch": 4, "time": 5, "rounds": 1}
    assert report["machine"]["tensorflow"]
    assert report["failures"] == []
    (training,) = report["training"]
    names = "charlm keras tensorflow_product numpy_product limit charlm_to_peer charlm_to_limit"
    assert_figures(training, names + (" charlm_bfloat16 bfloat16_to_peer" if multiplies_bfloat16() else ""))
    assert [(case["units"], case["streams"]) for case in report["sampling"]] == [(8, 1), (8, 64)]
    for case in report["sampling"]:
        assert_figures(case, "charlm numpy numpy_product limit charlm_to_peer charlm_to_limit")
    assert_figures(report["start"][0], "milliseconds first_step_milliseconds")
    assert [case["text"] for case in report["tokenize"]] == ["ascii", "mixed"]
    for case in report["tokenize"]:
        assert_figures(case, "megabytes_per_second peak_megabytes")


def assert_figures(case: Mapping[str, Any], names: str) -> None:
    (only_round,) = case["rounds"]
    assert only_round == case["median"]
    assert set(only_round) - {"torch"} == set(names.split())
    assert all(figure > 0 for figure in only_round.values())


def test_parts_can_be_named() -> None:
    report = json.loads(run_bench("start", "--rounds", "1", "--json").stdout)
    assert set(report) == {"machine", "settings", "start", "failures"}


def test_a_table_has_a_line_for_each_case_and_a_dash_for_no_figure() -> None:
    part = Part("a title", {"keras": "Keras", "charlm_to_peer": "charlm/peer"}, [Case({"units": 8}, [])])
    results = [
        {"units": 8, "median": {"keras": 123_456.0, "charlm_to_peer": 1.2345}},
        {"units": 1024, "median": {"charlm_to_peer": 20.0}},
    ]
    assert table(part, results).splitlines() == [
        "a title",
        "units    Keras  charlm/peer",
        "    8  123,000         1.23",
        " 1024        -         20.0",
    ]


def test_tables_go_to_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Case({"units": 3}, [ADD], operations=1))
    result = run_bench()
    assert result.stdout.startswith("cpu ")
    assert "\na title\nunits" in result.stdout


@pytest.mark.parametrize("sizes", ["", "x", "128,", "0", "-8", "1.5", "65537"])
def test_wrong_sizes_are_wrong_usage(sizes: str) -> None:
    result = CliRunner().invoke(main, ["bench", "--units", sizes])
    assert result.exit_code == 2
    assert f"{sizes}: should be numbers from 1 to 65536" in result.stderr


def test_the_process_that_waits_imports_neither_tensorflow_nor_numpy() -> None:
    program = (
        "import sys; from charlm import bench, bench_parts; bench.EFFORT = dict(repetitions=1, seconds=0.001); "
        "bench_parts.PARTS['training'](bench_parts.Settings((8,), 1, 4, 5, 1)); from charlm.cli import main; "
        "main('bench start --units 8 --rounds 1'.split(), standalone_mode=False); "
        "assert not {'tensorflow', 'keras', 'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
