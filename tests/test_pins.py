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
    "plain": (4.1346, 3.6583, 3.7329, 3.5957),
    "two_layers": (4.0969, 3.5106, 3.5294, 3.4148),
    "skip_connections": (4.1254, 3.3505, 3.3353, 3.2387),
    "embedding": (4.0996, 3.6136, 3.6612, 3.5225),
    "dropout": (4.2394, 4.1123, 3.9993, 3.9216),
    "muon": (4.1420, 3.9442, 3.9567, 3.9210),
    "average": (4.1346, 3.6583, 3.7776, 3.6034),
    "temperature": (4.1351, 3.6716, 3.7444, 3.6131),
    "state_reset": (4.1338, 3.6691, 3.7326, 3.5926),
    "shuffle": (4.1026, 3.5984, 3.7310, 3.5819),
    "bfloat16": (4.1346, 3.6585, 3.7328, 3.5956),
    "penalties": (4.1139, 3.9817, 3.9946, 3.9691),
    "adamw": (4.1214, 3.4678, 3.5157, 3.3780),
    "relu": (4.1074, 3.7221, 3.7439, 3.6327),
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
