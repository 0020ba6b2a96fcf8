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

FINDING = Finding("line ends", "mixed: 20 \\n, 10 \\r\\n", "make them one kind")


BATCHES = Batches(length=18_000, batch_size=32, sequence_length=64, seed=1)


def make_plan() -> Plan:
    splits = {"train": 18_000, "validation": 2_000}
    text = TextFacts("20,000 characters, a vocabulary of 60", 20_000, 1, 60, splits, [FINDING])
    return Plan(
        text=text,
        architecture=Architecture(60, 2, 512, None, True, "tanh", False),
        schedule=make_schedule(TrainingConfig(steps=80, growing_windows=True), BATCHES),
        precision="float32",
        start_seconds=10.0,
        costs=Costs(step_seconds=0.1, evaluation_seconds=0.5, checkpoint_seconds=0.2, start_seconds=5.0),
        run_seconds=80.0,
        teacher_seconds=0.0,
        memory_bytes=1_500_000_000,
        advice=suited_recipe(1_000_000),
        is_advised=False,
    )


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = list(_lines(make_plan(), width=width))
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        *("text", "problem", "network", "steps", "memory", "time", "recipe", "better")
    ]


def test_the_figures_are_those_of_the_plan() -> None:
    text = "\n".join(_lines(make_plan(), width=200))
    for expected in (
        "80",
        "6.66 epochs",
        "32 windows of 16, 32, 64, 128 characters each",
        "1.5 GB",
        "1m30s",
        "a step 100 ms",
        "20,480",
    ):
        assert expected in text
    assert "problem     line ends: mixed: 20 \\n, 10 \\r\\n; make them one kind" in text


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_json_is_one_object_and_nothing_is_written() -> None:
    before = sorted(Path().rglob("*"))
    command = run_line("plan text.txt -c tiny -s training.steps=7 --json")
    assert command.exit_code == 0
    assert json.loads(command.stdout)["steps"] == 7
    assert sorted(Path().rglob("*")) == before
