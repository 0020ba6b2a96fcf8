"""The losses of seeded trainings have not changed, up to rounding, on any machine; `pins.py` compares every bit."""

import json
from pathlib import Path

import pytest
from pins import FEATURES, PINS, pin

from charlm.hardware import multiplies_bfloat16

pytestmark = pytest.mark.slow

PINNED = json.loads(PINS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FEATURES)
def test_the_losses_of_a_seeded_training_have_not_changed(name: str, tmp_path: Path) -> None:
    if name == "bfloat16" and not multiplies_bfloat16():
        pytest.skip("needs a processor that multiplies bfloat16")
    found, pinned = pin(name, tmp_path / "pin")["losses"], PINNED[name]["losses"]
    assert [line[:2] for line in found] == [line[:2] for line in pinned]
    losses, before = ([float.fromhex(line[2]) for line in lines] for lines in (found, pinned))
    assert losses == pytest.approx(before, rel=1e-3)
