"""What `charlm inspect` prints and writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm

from charlm.inspection.report import SECTIONS

CONTRACT = (
    *("surprise", "gradient_by_lag", "usable_context", "impulse_response", "lyapunov", "spectral_radius", "units"),
    "loss_by_class",
)

pytestmark = pytest.mark.usefixtures("place")


def as_json(*arguments: str | Path) -> dict[str, Any]:
    """Return the object that a command prints, and nothing else on standard output."""
    command = charlm("inspect", *arguments, "--json")
    assert command.exit_code == 0
    found: dict[str, Any] = json.loads(command.stdout)
    return found


def test_json_has_the_promised_parts_and_the_nats_of_evaluate() -> None:
    found = as_json("m.safetensors", "--text", "text.txt")
    assert {*CONTRACT, *SECTIONS} <= set(found)
    assert found["name"] == "m.safetensors"
    text = Path("text.txt").read_text(encoding="utf-8")
    assert "".join(entry["character"] for entry in found["surprise"]) == text[1:]
    score = json.loads(charlm("evaluate", "m.safetensors", "text.txt", "--json").stdout)["nats_per_char"]
    assert np.mean([entry["nats"] for entry in found["surprise"]]) == pytest.approx(score, rel=1e-4)


@pytest.mark.slow
def test_characters_that_are_left_out_are_told() -> None:
    command = charlm("inspect", "m.safetensors", "--text", "other.txt", "--json")
    assert command.exit_code == 0
    found = json.loads(command.stdout)
    note = "Left out of the text, since the model does not know them: 'X' (U+0058) 1 time."
    assert found["notes"][0] == note
    assert len(found["surprise"]) == 3


@pytest.mark.slow
def test_a_page_is_written_and_its_name_printed() -> None:
    command = charlm("inspect", "m.safetensors", "--text", "text.txt", "--out", "report.html")
    assert (command.exit_code, command.stdout) == (0, "report.html\n")
    lines = command.stderr.splitlines()  # not a terminal
    assert lines == [
        f"charlm: part {number} of {len(SECTIONS)}: m.safetensors: {name.replace('_', ' ')}"
        for number, name in enumerate([*SECTIONS][1:], 2)
    ]
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
