"""What this machine trains with, in place of what a config asks for, and which machines TF_CONFIG names."""

import json
from typing import Any

import pytest

from charlm.config.schema import Config, TrainingConfig
from charlm.engine.factory import KerasEngines, read_tf_config
from charlm.errors import CharlmError
from charlm.training.signals import Session


@pytest.mark.parametrize(("is_recorded", "then"), [(False, "training in float32"), (True, "continuing in float32, so")])
def test_without_bfloat16_float32_is_announced(is_recorded: bool, then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    config = Config(training=TrainingConfig(precision="bfloat16", kernel="keras"))
    said: list[str] = []
    settled = KerasEngines(Session()).settle(config, say=said.append, is_recorded=is_recorded)
    assert settled.training.precision == "float32"
    assert len(said) == 1
    assert said[0].startswith(f"training.precision: no bfloat16 here; {then}")
    said.clear()
    assert KerasEngines(Session()).settle(settled, say=said.append, is_recorded=is_recorded) == settled
    assert said == []


TASK = {"type": "worker", "index": 1}


def variables(worker: Any, task: dict[str, Any], **jobs: list[str]) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": worker, **jobs}, "task": task, "environment": "cloud"})}


def test_tf_config_says_how_many_machines_there_are_and_which_one_this_is() -> None:
    assert read_tf_config(variables(["host-1:2222", "[::1]:80", "10.0.0.1:3"], TASK)) == (3, 1)
    assert read_tf_config({"TF_CONFIG": " "}) == read_tf_config({}) == (1, 0)


def test_another_tf_config_is_refused_in_a_line_that_shows_the_right_one() -> None:
    for wrong in (
        variables(["a:1", "b:2"], {"type": "worker", "index": 2}),
        variables(["a:1", "b:2"], {"type": "worker", "index": -1}),
        variables(["a:1", "b:2"], {"type": "chief", "index": 0}),
        variables(["a:1", "b:2"], TASK, chief=["c:1"]),
        variables(["a:1", "b"], TASK),
        variables([1, 2], TASK),
        variables("a:1", TASK),
        {"TF_CONFIG": "[" * 10_000},
    ):
        with pytest.raises(CharlmError, match=r'^TF_CONFIG: must be \{"cluster": .*\}, with N from 0') as refused:
            read_tf_config(wrong)
        assert len(str(refused.value).splitlines()) == 1
