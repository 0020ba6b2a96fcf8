"""`charlm bench`: the tables, the JSON object, and what is refused."""

import json
from collections.abc import Mapping
from typing import Any

import click
import pytest
from commands import charlm, check_usage_error, table

from charlm.bench.cases import PARTS, PARTS_OF_STEP, Case, Part, Workload
from charlm.bench.measure import Benchmark, Effort
from charlm.bench.timing import Figures
from charlm.cli.bench import bench, part_lines, report
from charlm.errors import CharlmError
from charlm.hardware import multiplies_bfloat16

PART = Part("a title", {"numpy_product": "product", "torch": "PyTorch"}, [Case({"units": 3}, [Workload("a", {})], 2)])
MACHINE = {"cpu": "fast", "torch": None}
SETTINGS = {"units": [3]}


def measure_six(_workload: Workload, _effort: Effort) -> Figures:
    return {"numpy_product": 6}


def fail(_workload: Workload, _effort: Effort) -> Figures:
    raise CharlmError("out of memory")


def test_a_table_has_a_line_for_each_case_and_a_dash_for_no_figure() -> None:
    part = Part("a title", {"keras": "Keras", "charlm_to_peer": "charlm/peer"}, [Case({"units": 8}, [])])
    results = [
        {"units": 8, "median": {"keras": 123_456.0, "charlm_to_peer": 1.2345}},
        {"units": 1024, "median": {"charlm_to_peer": 20.0}},
    ]
    assert part_lines(part, results) == [
        "a title",
        "units    Keras  charlm/peer",
        "    8  123,000         1.23",
        " 1024        -         20.0",
    ]


def test_the_machine_and_the_tables_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = Benchmark({"start": PART}, rounds=1, say=pytest.fail, measure=measure_six)
    report(benchmark, MACHINE, SETTINGS, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "cpu fast, torch -",
        "",
        "a title",
        "units  product  PyTorch",
        "    3     6.00        -",
    ]


def test_json_is_one_object_with_the_machine_the_settings_the_results_and_the_failures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    benchmark = Benchmark({"start": PART}, rounds=1, say=pytest.fail, measure=measure_six)
    report(benchmark, MACHINE, SETTINGS, as_json=True)
    found = json.loads(capsys.readouterr().out)
    figures = {"numpy_product": 6, "limit": 3}
    case = {"units": 3, "median": figures, "limit_by": "numpy_product", "rounds": [figures]}
    assert found == {"machine": MACHINE, "settings": SETTINGS, "start": [case], "failures": []}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_measurement_is_an_error_after_the_results(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = Benchmark({"start": PART}, rounds=1, say=lambda _: None, measure=fail)
    with pytest.raises(CharlmError, match=r"^measurements that failed: 1; the other figures are valid$"):
        report(benchmark, MACHINE, SETTINGS, as_json=as_json)
    assert ("out of memory" if as_json else "a title") in capsys.readouterr().out


def test_the_parts_that_can_be_named_are_all_there_are() -> None:
    (argument,) = (parameter for parameter in bench.params if isinstance(parameter, click.Argument))
    assert isinstance(argument.type, click.Choice)
    assert [*argument.type.choices] == [*PARTS]


@table("""
bench walking     | 'walking' is not one of
bench --units 0   | 0: must be numbers from 1 to 65536
bench --units 1,x | 1,x: must be numbers from 1 to 65536
bench --layers 65 | '--layers'
bench --rounds 0  | '--rounds'
bench --batch 0   | '--batch'
bench --time 0    | '--time'
bench -c ''       | '--config'
""")
def test_wrong_usage_names_the_argument(line: str, expected: str) -> None:
    check_usage_error(line, expected)


def test_units_of_thousands_of_digits_are_refused_in_a_short_line() -> None:
    command = charlm("bench", "--units", "9" * 5000)
    assert command.exit_code == 2
    assert "99...99" in command.stderr
    assert "must be numbers from 1 to 65536" in command.stderr
    assert len(command.stderr) < 1000


@pytest.mark.parametrize("sizes", ["", "x", "128,", "0", "-8", "1.5", "65537"])
def test_the_units_must_be_sizes(sizes: str) -> None:
    command = charlm("bench", "--units", sizes)
    assert command.exit_code == 2
    assert f"{sizes}: must be numbers from 1 to 65536" in command.stderr


# The real workloads


@pytest.mark.slow
def test_every_part_is_measured_by_default() -> None:
    sizes = ("--units", 8, "--layers", 2, "--batch", 4, "--time", 5, "--config", "tiny", "--rounds", 1)
    command = charlm("bench", *sizes, "--json")
    assert command.exit_code == 0, command.stderr
    found = json.loads(command.stdout)
    expected = {"units": [8], "layers": 2, "batch": 4, "time": 5, "recipe": "tiny", "rounds": 1}
    assert found["settings"] == expected
    assert found["machine"]["tensorflow"]
    assert found["failures"] == []
    (training,) = found["training"]
    names = "charlm keras peak tensorflow_product numpy_product limit charlm_to_peer charlm_to_peak charlm_to_limit"
    half_names = " charlm_bfloat16 peak_bfloat16 bfloat16_to_peer bfloat16_to_peak"
    assert_figures(training, names + (half_names if multiplies_bfloat16() else ""))
    assert [case["part"] for case in found["profile"]] == [*PARTS_OF_STEP]
    assert all({"milliseconds", "of_step"} <= set(case["median"]) for case in found["profile"])
    assert [(case["units"], case["streams"]) for case in found["sampling"]] == [(8, 1), (8, 64)]
    for case in found["sampling"]:
        assert_figures(case, "charlm numpy numpy_product limit charlm_to_peer charlm_to_limit")
    assert_figures(found["start"][0], "milliseconds first_step_milliseconds")
    assert [case["text"] for case in found["tokenize"]] == ["ascii", "mixed"]
    for case in found["tokenize"]:
        assert_figures(case, "megabytes_per_second peak_megabytes")


def assert_figures(case: Mapping[str, Any], names: str) -> None:
    (only_round,) = case["rounds"]
    assert only_round == case["median"]
    assert set(only_round) - {"torch"} == set(names.split())
    assert all(figure > 0 for figure in only_round.values())


@pytest.mark.slow
def test_parts_can_be_named() -> None:
    found = json.loads(charlm("bench", "start", "--units", 8, "--rounds", 1, "--json").stdout)
    assert set(found) == {"machine", "settings", "start", "failures"}
