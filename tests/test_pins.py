"""The losses of seeded trainings have not changed, up to rounding, on any machine; `pins.py` compares every bit."""

from pathlib import Path

import pytest
from pins import BASE, FEATURES, TEXT_CHARACTERS
from run_folders import read_metrics

import charlm
from charlm.config.recipes import DEFAULT_CORPUS
from charlm.hardware import multiplies_bfloat16

pytestmark = pytest.mark.slow

LINES = ((5, "train"), (40, "train"), (20, "validation"), (40, "validation"))
LOSSES = {
    "plain": (4.1427, 3.6151, 3.6614, 3.5283),
    "two_layers": (4.1518, 3.5531, 3.6296, 3.4986),
    "skip_connections": (4.1180, 3.3631, 3.3370, 3.2386),
    "embedding": (4.0605, 3.4850, 3.5366, 3.4417),
    "dropout": (4.2142, 4.0822, 4.0321, 3.9620),
    "muon": (4.1525, 4.0116, 4.0113, 3.9801),
    "average": (4.1427, 3.6151, 3.7115, 3.5351),
    "temperature": (4.1427, 3.6267, 3.6707, 3.5445),
    "state_reset": (4.1366, 3.6383, 3.6673, 3.5325),
    "shuffle": (4.1524, 3.5467, 3.6548, 3.5189),
    "bfloat16": (4.1425, 3.6150, 3.6610, 3.5280),
    "penalties": (4.1542, 3.9831, 3.9898, 3.9630),
    "adamw": (4.1298, 3.4588, 3.4446, 3.3430),
    "relu": (4.1291, 3.7345, 3.9400, 3.6646),
}
"""Nats per character at LINES. They change only with what is meant to change results: a failure shows the new ones."""


@pytest.mark.parametrize("name", FEATURES)
def test_the_losses_of_a_seeded_training_have_not_changed(name: str, tmp_path: Path) -> None:
    if name == "bfloat16" and not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    (tmp_path / "text.txt").write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:TEXT_CHARACTERS], encoding="utf-8")
    overrides = [*BASE, *FEATURES[name], "sampling.length=0"]
    run = charlm.train(tmp_path / "text.txt", recipe="tiny", overrides=overrides, run=tmp_path / "run").folder
    found = {(line["step"], line["split"]): line["nats_per_char"] for line in read_metrics(run)}
    assert [found[line] for line in LINES] == pytest.approx(LOSSES[name], rel=1e-3)
