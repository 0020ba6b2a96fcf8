"""What this machine trains with, in place of what a config asks for."""

import pytest

from charlm.config.schema import Config, TrainingConfig
from charlm.engine.factory import KerasEngines
from charlm.training.signals import Session


@pytest.mark.parametrize(("is_recorded", "then"), [(False, "training in float32"), (True, "continuing in float32, so")])
def test_without_bfloat16_a_run_is_in_float32_and_the_user_is_told(
    is_recorded: bool, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    config = Config(training=TrainingConfig(precision="bfloat16", kernel="tensorflow"))
    said: list[str] = []
    settled = KerasEngines(Session()).settle(config, say=said.append, is_recorded=is_recorded)
    assert settled.training.precision == "float32"
    assert len(said) == 1
    assert said[0].startswith(f"training.precision: no bfloat16 here; {then}")
    said.clear()
    assert KerasEngines(Session()).settle(settled, say=said.append, is_recorded=is_recorded) == settled
    assert said == []
