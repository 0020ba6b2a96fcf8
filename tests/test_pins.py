"""The losses of seeded trainings have not changed, up to rounding, on any machine; `pins.py` compares every bit."""

from pathlib import Path

import pytest
from corpora import write_plays
from pins import BASE, FEATURES, LINES, TEXT_CHARACTERS
from run_folders import read_metrics

import charlm
from charlm.hardware import multiplies_bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_the_losses_of_a_seeded_training_have_not_changed(name: str, tmp_path: Path) -> None:
    if name == "bfloat16" and not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    text, (losses, settings) = write_plays(tmp_path / "text.txt", characters=TEXT_CHARACTERS), FEATURES[name]
    run = tmp_path / "run"
    charlm.train(text, recipe="tiny", overrides=[*BASE, *settings, "sampling.length=0"], run=run)
    found = {(line["step"], line["split"]): line["nats_per_char"] for line in read_metrics(run)}
    assert [found[line] for line in LINES] == pytest.approx(losses, rel=1e-3)
