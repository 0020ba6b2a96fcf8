"""`charlm plan`: what it prints."""

import json
from pathlib import Path

import pytest
from commands import run_line

from charlm.api.planning import Plan
from charlm.cli.plan import _lines
from charlm.config.recipes import suited_recipe
from charlm.config.schema import TrainingConfig
from charlm.network.architecture import Architecture
from charlm.text.batches import Batches
from charlm.text.findings import Finding, TextFacts
from charlm.training.schedule import make_schedule
from charlm.training.timing import Costs


def make_plan() -> Plan:
    finding = Finding("line ends", "mixed: 20 \\n, 10 \\r\\n", "make them one kind")
    batches = Batches(length=18_000, batch_size=32, sequence_length=64, seed=1)
    return Plan(
        text=TextFacts("20,000 characters", 20_000, 1, 60, {"train": 18_000, "validation": 2_000}, [finding]),
        architecture=Architecture(60, 2, 512, None, True, "tanh", False),
        schedule=make_schedule(TrainingConfig(steps=80, growing_windows=True), batches),
        precision="float32",
        start_seconds=10.0,
        costs=Costs(step_seconds=0.1, mark_seconds=0.5, start_seconds=5.0),
        evaluations=20,
        run_seconds=80.0,
        memory_bytes=1_500_000_000,
        advice=suited_recipe(1_000_000),
        is_advised=False,
    )


def test_the_figures_are_those_of_the_plan_in_lines_that_fit_the_terminal() -> None:
    text = "\n".join(_lines(make_plan(), width=200))
    for expected in ("80", "6.66 epochs", "32 windows of 16, 32, 64, 128 characters each", "1.5 GB", "1m30s"):
        assert expected in text
    for expected in (
        "a step 100 ms",
        "20 evaluations of 500 ms",
        "20,480",
        "problem     line ends: mixed: 20 \\n, 10 \\r\\n; make them one kind",
    ):
        assert expected in text
    assert max(map(len, _lines(make_plan(), width=40))) <= 40


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_json_is_one_object_and_nothing_is_written() -> None:
    before = sorted(Path().rglob("*"))
    command = run_line("plan text.txt -c tiny -s training.steps=7 --json")
    assert command.exit_code == 0
    assert json.loads(command.stdout)["steps"] == 7
    assert sorted(Path().rglob("*")) == before
