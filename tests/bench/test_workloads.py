"""The workloads of `charlm bench`: each returns its figures."""

import json
import sys

import numpy as np
import pytest

from charlm.bench import workloads
from charlm.bench.measure import Effort
from charlm.bench.timing import Figures
from charlm.bench.workloads import run_named_workload

TINY = {"repetitions": 1, "seconds": 0.001}
TINY_EFFORT = Effort(repetitions=1, seconds=0.001)


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(("name", "figure"), [("generate", "charlm"), ("numpy_loop", "numpy")])
def test_a_sampler_has_a_speed(name: str, figure: str, streams: int) -> None:
    figures: Figures = getattr(workloads, name)(units=8, layers=2, vocabulary=5, streams=streams, **TINY)
    assert list(figures) == [figure]
    assert figures[figure] > 0


@pytest.mark.parametrize("rows", [1, 3])
def test_a_numpy_product_has_a_speed(rows: int) -> None:
    assert workloads.numpy_product(rows=rows, units=8, repetitions=1, seconds=0.001)["numpy_product"] > 0


@pytest.mark.parametrize("text", ["ascii", "mixed"])
def test_tokenize_has_a_speed_and_a_peak_of_memory(text: str) -> None:
    figures = workloads.tokenize(text=text, megabytes=0.1, repetitions=1, seconds=0.001)
    assert set(figures) == {"megabytes_per_second", "peak_megabytes"}
    assert all(figure > 0 for figure in figures.values())


def test_random_weights_leave_states_and_logits_moderate() -> None:
    parameters = workloads.random_parameters(units=64, layers=2, vocabulary=5)
    assert [layer.recurrent_kernel.shape for layer in parameters.layers] == [(64, 64), (64, 64)]
    assert all(np.linalg.norm(layer.recurrent_kernel, 2) < 3 for layer in parameters.layers)


def add(*, left: int, right: int) -> Figures:
    return {"sum": left + right}


def fail(*, reason: str) -> Figures:
    raise ValueError(reason)


def test_the_named_workload_runs_with_its_arguments_and_prints_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["workloads", "add", '{"left": 1, "right": 2}'])
    run_named_workload(add, fail)
    assert json.loads(capsys.readouterr().out) == {"sum": 3}


def test_a_workload_that_fails_ends_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["workloads", "fail", '{"reason": "first\\nsecond"}'])
    with pytest.raises(SystemExit, match=r"^ValueError: first$"):
        run_named_workload(add, fail)


@pytest.mark.slow
def test_the_first_character_and_the_first_step_of_a_process_are_timed() -> None:
    network = {"units": 8, "layers": 1, "vocabulary": 5}
    assert workloads.first_character(**network, repetitions=1, seconds=0)["milliseconds"] > 0
    assert workloads.first_step(**network, repetitions=1, seconds=0)["first_step_milliseconds"] > 0
