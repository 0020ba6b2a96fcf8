"""What this machine trains with, in place of what a config asks for."""

import json
from pathlib import Path

import pytest
from corpora import make_corpus

from charlm.config.schema import Config, ModelConfig, TrainingConfig
from charlm.engine import runtime
from charlm.engine.cluster import Cluster, facts_to_agree_on
from charlm.engine.distribution import Machines
from charlm.engine.factory import KerasEngines
from charlm.engine.keras_engine import KerasEngine
from charlm.text.batches import Batches
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


def make(engines: KerasEngines) -> KerasEngine:
    """Make an engine for a batch of two rows in two parts."""
    config = Config(model=ModelConfig(units=3), training=TrainingConfig(epochs=1, kernel="tensorflow", parts=2))
    batches = Batches(length=100, batch_size=2, sequence_length=4, seed=1)
    return engines(config, batches, vocabulary_size=5)


def test_a_tensorflow_that_was_used_before_is_slower_and_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "start", lambda: False)
    said: list[str] = []
    make(KerasEngines(Session(said.append)))
    assert said == ["TensorFlow was used before in this program and keeps its threads: training is slower"]


def test_each_of_several_machines_trains_its_rows() -> None:
    machines = Machines.__new__(Machines)  # not connected
    machines.count, machines.task = 2, 1
    assert make(KerasEngines(Session(), machines)).rows == slice(1, 2)
    assert make(KerasEngines(Session())).rows == slice(0, 2)


def test_all_machines_train_in_the_parts_of_the_chief(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    corpus, machines = make_corpus(tmp_path, "abba" * 100), Machines.__new__(Machines)  # not connected
    machines.count, machines.task, machines.cluster = 2, 1, Cluster(("a:1", "b:2"), task=1)
    chiefs, own = (Config(training=TrainingConfig(epochs=1, parts=parts)) for parts in (2, 4))
    facts = json.dumps(facts_to_agree_on(chiefs, corpus)).encode()
    monkeypatch.setattr(machines, "exchange", lambda given: [facts, given])
    assert KerasEngines(Session(), machines).agree(own, corpus) == chiefs
